import io.netty.bootstrap.Bootstrap;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBufUtil;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelPipeline;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.channel.socket.nio.NioSocketChannel;
import io.netty.handler.codec.http.DefaultHttpHeaders;
import io.netty.handler.codec.http.HttpClientCodec;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.codec.http.websocketx.BinaryWebSocketFrame;
import io.netty.handler.codec.http.websocketx.CloseWebSocketFrame;
import io.netty.handler.codec.http.websocketx.TextWebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketClientHandshakerFactory;
import io.netty.handler.codec.http.websocketx.WebSocketClientProtocolHandler;
import io.netty.handler.codec.http.websocketx.WebSocketFrame;
import io.netty.handler.codec.http.websocketx.WebSocketFrameAggregator;
import io.netty.handler.codec.http.websocketx.WebSocketServerProtocolConfig;
import io.netty.handler.codec.http.websocketx.WebSocketServerProtocolHandler;
import io.netty.handler.codec.http.websocketx.WebSocketVersion;
import io.netty.handler.codec.http.websocketx.extensions.WebSocketClientExtensionHandler;
import io.netty.handler.codec.http.websocketx.extensions.WebSocketServerExtensionHandler;
import io.netty.handler.codec.http.websocketx.extensions.compression.PerMessageDeflateClientExtensionHandshaker;
import io.netty.handler.codec.http.websocketx.extensions.compression.PerMessageDeflateServerExtensionHandshaker;
import io.netty.handler.ssl.SslContext;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.util.Version;
import java.io.BufferedReader;
import java.io.File;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Netty as a peer of conn's TestPeerInterop, which says what is read and printed: NettyPeer FOLDER. */
public class NettyPeer {
    static final int LARGEST = 1 << 28;

    static synchronized void say(String line) {
        byte[] b = (line + "\n").getBytes(StandardCharsets.UTF_8);
        System.out.write(b, 0, b.length);
        System.out.flush();
    }

    static class Echo extends SimpleChannelInboundHandler<WebSocketFrame> {
        final CountDownLatch done = new CountDownLatch(1);
        boolean closing, told;

        @Override
        protected void channelRead0(ChannelHandlerContext c, WebSocketFrame f) throws Exception {
            if (f instanceof CloseWebSocketFrame) {
                CloseWebSocketFrame close = (CloseWebSocketFrame) f;
                told = true;
                int code = close.statusCode() < 0 ? 1005 : close.statusCode();
                say("closed " + code + " " + close.reasonText());
                // The protocol handler leaves Close frames to us.
                if (closing) {
                    c.close();
                } else {
                    c.writeAndFlush(close.retain()).addListener(done -> c.close());
                }
                return;
            }
            boolean text = f instanceof TextWebSocketFrame;
            if (!text && !(f instanceof BinaryWebSocketFrame)) {
                return;
            }
            byte[] data = ByteBufUtil.getBytes(f.content());
            byte[] sum = MessageDigest.getInstance("SHA-256").digest(data);
            say((text ? "text " : "binary ") + data.length + " " + HexFormat.of().formatHex(sum));
            if (text && data.length >= 6 && new String(data, 0, 6, StandardCharsets.UTF_8).equals("close ")) {
                String[] words = new String(data, StandardCharsets.UTF_8).split(" ", 3);
                int code = Integer.parseInt(words[1]);
                closing = true;
                c.writeAndFlush(code == 1005 ? new CloseWebSocketFrame() : new CloseWebSocketFrame(code, words[2]));
                return;
            }
            c.writeAndFlush(f.retain());
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext c, Throwable e) {
            if (!told) {
                say("error " + e);
            }
            told = true;
            c.close();
        }

        @Override
        public void channelInactive(ChannelHandlerContext c) {
            if (!told) {
                say("error no Close");
            }
            done.countDown();
        }
    }

    public static void main(String[] args) throws Exception {
        String[] versions = {"TLSv1.2", "TLSv1.3"}; // 4.1.48 has 1.3 only if asked
        SslContext serverTLS = SslContextBuilder.forServer(new File(args[0], "cert.pem"), new File(args[0], "key.pem")).protocols(versions).build();
        SslContext clientTLS = SslContextBuilder.forClient().trustManager(new File(args[0], "ca.pem")).protocols(versions).build();
        NioEventLoopGroup group = new NioEventLoopGroup(1);
        say("version " + Version.identify().get("netty-codec-http").artifactVersion());
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            String[] words = line.split(" ");
            boolean listens = words[0].equals("listen"), tls = words[1].equals("wss");
            String mode = words[words.length - 2];
            int asked = Integer.parseInt(words[words.length - 1]), bits = asked == 0 ? 15 : asked;
            Echo echo = new Echo();
            try {
                if (listens) {
                    Channel listener = new ServerBootstrap().group(group).channel(NioServerSocketChannel.class).childHandler(new ChannelInitializer<Channel>() {
                        @Override
                        protected void initChannel(Channel c) {
                            ChannelPipeline p = c.pipeline();
                            if (tls) p.addLast(serverTLS.newHandler(c.alloc()));
                            p.addLast(new HttpServerCodec(), new HttpObjectAggregator(1 << 16));
                            if (!mode.equals("none"))
                                p.addLast(new WebSocketServerExtensionHandler(new PerMessageDeflateServerExtensionHandshaker(6, true, bits, true, mode.equals("alone"))));
                            p.addLast(new WebSocketServerProtocolHandler(WebSocketServerProtocolConfig.newBuilder()
                                .websocketPath("/").allowExtensions(true).maxFramePayloadLength(LARGEST).handleCloseFrames(false).build()),
                                new WebSocketFrameAggregator(LARGEST), echo);
                        }
                    }).bind("127.0.0.1", 0).sync().channel();
                    say("port " + ((InetSocketAddress) listener.localAddress()).getPort());
                    echo.done.await(120, TimeUnit.SECONDS);
                    listener.close().sync();
                } else {
                    int port = Integer.parseInt(words[2]);
                    URI uri = URI.create(words[1] + "://127.0.0.1:" + port + "/");
                    new Bootstrap().group(group).channel(NioSocketChannel.class).handler(new ChannelInitializer<Channel>() {
                        @Override
                        protected void initChannel(Channel c) {
                            ChannelPipeline p = c.pipeline();
                            if (tls) p.addLast(clientTLS.newHandler(c.alloc(), "127.0.0.1", port));
                            p.addLast(new HttpClientCodec(), new HttpObjectAggregator(1 << 16));
                            if (!mode.equals("none"))
                                p.addLast(new WebSocketClientExtensionHandler(new PerMessageDeflateClientExtensionHandshaker(6, true, bits, mode.equals("alone"), mode.equals("alone"))));
                            p.addLast(new WebSocketClientProtocolHandler(WebSocketClientHandshakerFactory.newHandshaker(
                                uri, WebSocketVersion.V13, null, true, new DefaultHttpHeaders(), LARGEST), false), new WebSocketFrameAggregator(LARGEST), echo);
                        }
                    }).connect("127.0.0.1", port).sync();
                    echo.done.await(120, TimeUnit.SECONDS);
                }
            } catch (Exception e) {
                say("error " + e);
            }
        }
        System.exit(0);
    }
}
