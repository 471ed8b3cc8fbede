//! Libraries of Rust as peers of conn's TestPeerInterop, which says what is read and
//! printed: peer LIBRARY FOLDER.

mod tls;

use std::future::Future;
use std::io::{BufRead, Write};
use std::pin::Pin;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const LARGEST: usize = 1 << 30;

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}
type AnyStream = Box<dyn Stream>;

fn say(line: String) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn tell(text: bool, data: &[u8]) {
    let sum: String = Sha256::digest(data).iter().map(|b| format!("{b:02x}")).collect();
    say(format!("{} {} {sum}", if text { "text" } else { "binary" }, data.len()));
}

fn tell_close(body: &[u8]) {
    match body {
        [a, b, reason @ ..] => say(format!("closed {} {}", u16::from_be_bytes([*a, *b]), String::from_utf8_lossy(reason))),
        _ => say("closed 1005 ".into()),
    }
}

/// The code and the reason if the message asks for them; 1005 is none.
fn asked_to_close(text: bool, data: &[u8]) -> Option<(u16, String)> {
    let rest = data.strip_prefix(b"close ").filter(|_| text)?;
    let (code, reason) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    Some((code.parse().ok()?, reason.to_string()))
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [library, folder] = args.as_slice() else {
        return Err("LIBRARY FOLDER".into());
    };
    say(format!("version {}", version(library).ok_or("a library that is not in Cargo.lock")?));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        if let Err(e) = runtime.block_on(obey(library, folder, &words)) {
            say(format!("error {e}"));
        }
    }
    Ok(())
}

/// Neither library has permessage-deflate.
async fn obey(library: &str, folder: &str, words: &[&str]) -> Result<(), Failure> {
    match words {
        ["listen", scheme, ..] => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            say(format!("port {}", listener.local_addr()?.port()));
            let (tcp, _) = listener.accept().await?;
            let stream: AnyStream = if *scheme == "ws" { Box::new(tcp) } else { Box::new(tls::acceptor(folder)?.accept(tcp).await?) };
            match library {
                "tokio-tungstenite" => tungstenite::accept(stream).await,
                _ => fast::accept(stream).await,
            }
        }
        ["dial", scheme, port, ..] => {
            let host = format!("127.0.0.1:{port}");
            let tcp = TcpStream::connect(&host).await?;
            let stream: AnyStream =
                if *scheme == "ws" { Box::new(tcp) } else { Box::new(tls::connector(folder)?.connect("127.0.0.1".try_into()?, tcp).await?) };
            match library {
                "tokio-tungstenite" => tungstenite::dial(stream, &host).await,
                _ => fast::dial(stream, &host).await,
            }
        }
        _ => Err(format!("no command {words:?}").into()),
    }
}

mod tungstenite {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
    use tokio_tungstenite::WebSocketStream;

    fn config() -> Option<WebSocketConfig> {
        Some(WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST)))
    }

    pub async fn accept(stream: AnyStream) -> Result<(), Failure> {
        echo(tokio_tungstenite::accept_async_with_config(stream, config()).await?).await
    }

    pub async fn dial(stream: AnyStream, host: &str) -> Result<(), Failure> {
        let (ws, _) = tokio_tungstenite::client_async_with_config(format!("ws://{host}/"), stream, config()).await?;
        echo(ws).await
    }

    async fn echo(mut ws: WebSocketStream<AnyStream>) -> Result<(), Failure> {
        while let Some(message) = ws.next().await {
            let message = message?;
            match &message {
                Message::Text(_) | Message::Binary(_) => {}
                Message::Close(frame) => {
                    match frame {
                        Some(f) => say(format!("closed {} {}", u16::from(f.code), f.reason)),
                        None => tell_close(b""),
                    }
                    // The answer is sent by reading on.
                    while let Some(Ok(_)) = ws.next().await {}
                    return Ok(());
                }
                _ => continue,
            }
            let text = message.is_text();
            let data = message.clone().into_data();
            tell(text, &data);
            match asked_to_close(text, &data) {
                Some((1005, _)) => ws.close(None).await?,
                Some((code, reason)) => ws.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await?,
                None => ws.send(message).await?,
            }
        }
        Err("no Close".into())
    }
}

mod fast {
    use super::*;
    use fastwebsockets::{upgrade, FragmentCollector, Frame, OpCode, Payload, WebSocket};
    use http_body_util::Empty;
    use hyper::body::{Bytes, Incoming};
    use hyper::upgrade::Upgraded;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;

    struct Spawner;

    impl hyper::rt::Executor<Pin<Box<dyn Future<Output = ()> + Send>>> for Spawner {
        fn execute(&self, f: Pin<Box<dyn Future<Output = ()> + Send>>) {
            tokio::task::spawn(f);
        }
    }

    pub async fn accept(stream: AnyStream) -> Result<(), Failure> {
        let (done, result) = tokio::sync::oneshot::channel();
        let done = std::sync::Mutex::new(Some(done));
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let answer: Result<Response<Empty<Bytes>>, Failure> = upgrade::upgrade(&mut request).map_err(Into::into).map(|(response, opened)| {
                let done = done.lock().unwrap().take();
                tokio::task::spawn(async move {
                    let ended = match opened.await {
                        Ok(ws) => echo(ws).await,
                        Err(e) => Err(e.into()),
                    };
                    done.map(|d| d.send(ended));
                });
                response
            });
            async { answer }
        });
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?;
        result.await?
    }

    pub async fn dial(stream: AnyStream, host: &str) -> Result<(), Failure> {
        let request = Request::builder()
            .uri("/")
            .header("Host", host)
            .header("Upgrade", "websocket")
            .header("Connection", "upgrade")
            .header("Sec-WebSocket-Key", fastwebsockets::handshake::generate_key())
            .header("Sec-WebSocket-Version", "13")
            .body(Empty::<Bytes>::new())?;
        let (ws, _) = fastwebsockets::handshake::client(&Spawner, request, stream).await?;
        echo(ws).await
    }

    async fn echo(ws: WebSocket<TokioIo<Upgraded>>) -> Result<(), Failure> {
        let mut ws = FragmentCollector::new(ws);
        loop {
            let frame = ws.read_frame().await?;
            let text = match frame.opcode {
                OpCode::Text => true,
                OpCode::Binary => false,
                OpCode::Close => {
                    tell_close(&frame.payload);
                    return Ok(());
                }
                _ => continue,
            };
            tell(text, &frame.payload);
            let answer = match asked_to_close(text, &frame.payload) {
                Some((1005, _)) => Frame::close_raw(Payload::Borrowed(b"")),
                Some((code, reason)) => Frame::close(code, reason.as_bytes()),
                None => frame,
            };
            ws.write_frame(answer).await?;
        }
    }
}

/// The version of a library that this program was built with.
fn version(library: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{library}\"\nversion = \""))?;
    rest.split_once('"').map(|(v, _)| v)
}
