import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.cert.CertificateFactory;
import java.util.HexFormat;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** java.net.http as a peer of conn's TestPeerInterop, which says what is read and printed: Peer FOLDER. */
public class Peer {
    static synchronized void say(String line) {
        byte[] b = (line + "\n").getBytes(StandardCharsets.UTF_8);
        System.out.write(b, 0, b.length);
        System.out.flush();
    }

    static void tell(String kind, byte[] data) throws Exception {
        byte[] sum = MessageDigest.getInstance("SHA-256").digest(data);
        say(kind + " " + data.length + " " + HexFormat.of().formatHex(sum));
    }

    static class Echo implements WebSocket.Listener {
        final CountDownLatch done = new CountDownLatch(1);
        final StringBuilder text = new StringBuilder();
        ByteBuffer binary = ByteBuffer.allocate(1 << 20);

        @Override
        public CompletionStage<?> onText(WebSocket ws, CharSequence part, boolean last) {
            text.append(part);
            if (!last) {
                ws.request(1);
                return null;
            }
            String whole = text.toString();
            text.setLength(0);
            try {
                tell("text", whole.getBytes(StandardCharsets.UTF_8));
            } catch (Exception e) {
                onError(ws, e);
            }
            if (whole.startsWith("close ")) {
                String[] words = whole.split(" ", 3);
                ws.sendClose(Integer.parseInt(words[1]), words[2]).whenComplete((s, e) -> next(ws, e));
            } else {
                ws.sendText(whole, true).whenComplete((s, e) -> next(ws, e));
            }
            return null;
        }

        @Override
        public CompletionStage<?> onBinary(WebSocket ws, ByteBuffer part, boolean last) {
            if (binary.remaining() < part.remaining()) {
                ByteBuffer larger = ByteBuffer.allocate(2 * (binary.capacity() + part.remaining()));
                larger.put(binary.flip());
                binary = larger;
            }
            binary.put(part);
            if (!last) {
                ws.request(1);
                return null;
            }
            byte[] whole = new byte[binary.flip().remaining()];
            binary.get(whole).clear();
            try {
                tell("binary", whole);
            } catch (Exception e) {
                onError(ws, e);
            }
            ws.sendBinary(ByteBuffer.wrap(whole), true).whenComplete((s, e) -> next(ws, e));
            return null;
        }

        void next(WebSocket ws, Throwable e) {
            if (e != null) {
                onError(ws, e);
            } else {
                ws.request(1);
            }
        }

        @Override
        public CompletionStage<?> onClose(WebSocket ws, int code, String reason) {
            say("closed " + code + " " + reason);
            done.countDown();
            return null;
        }

        @Override
        public void onError(WebSocket ws, Throwable e) {
            say("error " + e);
            done.countDown();
        }
    }

    public static void main(String[] args) throws Exception {
        KeyStore roots = KeyStore.getInstance(KeyStore.getDefaultType());
        roots.load(null, null);
        try (FileInputStream in = new FileInputStream(args[0] + "/ca.pem")) {
            roots.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(roots);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        HttpClient client = HttpClient.newBuilder().sslContext(tls).build();
        say("version " + System.getProperty("java.version"));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            String[] words = line.split(" "); // dial SCHEME PORT
            Echo echo = new Echo();
            try {
                client.newWebSocketBuilder().buildAsync(URI.create(words[1] + "://127.0.0.1:" + words[2] + "/"), echo).get(60, TimeUnit.SECONDS);
                echo.done.await(120, TimeUnit.SECONDS);
            } catch (Exception e) {
                say("error " + e);
            }
        }
        System.exit(0);
    }
}
