//! Libraries of Rust as clients of the benchmarks, each on a runtime of one thread.
//! The Go package peers says what the arguments mean and what is printed.

mod stream;
mod turn;

use futures_util::{SinkExt, StreamExt};
use stream::{Failure, Stream};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use turn::Turn;

/// Size of the reader below the libraries that have no buffer of their own, or a small one.
const READ_BUFFER: usize = 64 << 10;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [library, role, url, options @ ..] = args.as_slice() else {
        return Err("LIBRARY ROLE URL key=value...".into());
    };
    let mut turn = Turn::new(role == "feed", options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match stream::open(url).await? {
            Stream::Plain(s) => run(library, s, &mut turn).await,
            Stream::Tls(s) => run(library, *s, &mut turn).await,
        }
    })?;
    turn.print(turn::version(library).ok_or("a library that is not in Cargo.lock")?);
    std::process::exit(0);
}

async fn run<S>(library: &str, s: S, turn: &mut Turn) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match library {
        "tokio-tungstenite" => tungstenite(s, turn).await,
        "fastwebsockets" => fast(BufReader::with_capacity(READ_BUFFER, s), turn).await,
        "tokio-websockets" => websockets(BufReader::with_capacity(READ_BUFFER, s), turn).await,
        "sockudo-ws" => sockudo(s, turn).await,
        _ => Err(format!("no library {library}").into()),
    }
}

async fn tungstenite<S: AsyncRead + AsyncWrite + Unpin>(s: S, turn: &mut Turn) -> Result<(), Failure> {
    use tokio_tungstenite::tungstenite::{protocol::Role, Message};
    use tokio_tungstenite::WebSocketStream;

    let mut ws = WebSocketStream::from_raw_socket(s, Role::Client, None).await;
    let text = turn.text();
    loop {
        turn.start();
        if !turn.feeds {
            ws.send(Message::text(text.clone())).await?;
        }
        let message = ws.next().await.ok_or("closed")??;
        if !turn.take(&message.into_data()) {
            return Ok(());
        }
    }
}

async fn fast<S: AsyncRead + AsyncWrite + Unpin>(s: S, turn: &mut Turn) -> Result<(), Failure> {
    use fastwebsockets::{Frame, Payload, Role, WebSocket};

    let mut ws = WebSocket::after_handshake(s, Role::Client);
    ws.set_auto_close(true);
    ws.set_auto_pong(true);
    let text = turn.text().into_bytes();
    loop {
        turn.start();
        if !turn.feeds {
            ws.write_frame(Frame::text(Payload::Borrowed(&text))).await?;
        }
        let frame = ws.read_frame().await?;
        if !turn.take(&frame.payload) {
            return Ok(());
        }
    }
}

async fn websockets<S: AsyncRead + AsyncWrite + Unpin>(s: S, turn: &mut Turn) -> Result<(), Failure> {
    use tokio_websockets::{ClientBuilder, Message};

    let mut ws = ClientBuilder::new().take_over(s);
    let text = turn.text();
    loop {
        turn.start();
        if !turn.feeds {
            ws.send(Message::text(text.clone())).await?;
        }
        let message = ws.next().await.ok_or("closed")??;
        if !turn.take(message.as_payload()) {
            return Ok(());
        }
    }
}

async fn sockudo<S>(s: S, turn: &mut Turn) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    use sockudo_ws::{Config, Message, WebSocketStream};

    let mut ws = WebSocketStream::client(s, Config::default());
    let text = turn.text();
    loop {
        turn.start();
        if !turn.feeds {
            ws.send(Message::text(text.clone())).await?;
        }
        let message = ws.next().await.ok_or("closed")??;
        if !turn.take(message.as_bytes()) {
            return Ok(());
        }
    }
}
