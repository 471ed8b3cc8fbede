// Boost.Beast as a peer of conn's TestPeerInterop, which says what is read and printed:
// beast FOLDER. It blocks, and sends in fragments of its write buffer.

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/version.hpp>
#include <iostream>
#include <openssl/sha.h>
#include <sstream>
#include <string>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using asio::ip::tcp;

static void say(const std::string& line) { std::cout << line << std::endl; }

static void tell(bool text, const std::string& data) {
    unsigned char sum[SHA256_DIGEST_LENGTH];
    SHA256(reinterpret_cast<const unsigned char*>(data.data()), data.size(), sum);
    std::string hex;
    for (unsigned char b : sum)
        for (int half : {b >> 4, b & 15}) hex += "0123456789abcdef"[half];
    say((text ? "text " : "binary ") + std::to_string(data.size()) + " " + hex);
}

// What SCHEME MODE BITS say.
struct order {
    std::string scheme, mode;
    int bits;

    template <class Stream>
    void apply(websocket::stream<Stream>& ws) const {
        websocket::permessage_deflate d;
        d.server_enable = d.client_enable = mode != "none";
        d.server_no_context_takeover = d.client_no_context_takeover = mode == "alone";
        if (bits) d.server_max_window_bits = d.client_max_window_bits = bits;
        d.compLevel = 1;  // for the time of 16 MiB
        ws.set_option(d);
        ws.read_message_max(0);
    }
};

template <class Stream>
static void tell_close(websocket::stream<Stream>& ws) {
    const auto& r = ws.reason();
    std::string reason(r.reason.data(), r.reason.size());
    say("closed " + std::to_string(r.code == websocket::close_code::none ? 1005 : r.code) + " " + reason);
}

template <class Stream>
static void echo(websocket::stream<Stream>& ws) {
    for (;;) {
        beast::flat_buffer in;
        beast::error_code failed;
        ws.read(in, failed);
        if (failed == websocket::error::closed) return tell_close(ws);
        if (failed) throw beast::system_error(failed);
        std::string data(static_cast<const char*>(in.data().data()), in.size());
        tell(ws.got_text(), data);
        if (ws.got_text() && data.compare(0, 6, "close ") == 0) {
            size_t space = data.find(' ', 6);
            int code = std::stoi(data.substr(6, space));
            websocket::close_reason reason;
            if (code != 1005) reason = {static_cast<websocket::close_code>(code), data.substr(space + 1)};
            ws.close(reason);
            return tell_close(ws);
        }
        ws.text(ws.got_text());
        ws.write(in.data());
    }
}

template <class Stream>
static void serve(websocket::stream<Stream>&& ws, const order& o) {
    o.apply(ws);
    ws.accept();
    echo(ws);
}

template <class Stream>
static void dial(websocket::stream<Stream>&& ws, const order& o, const std::string& host) {
    o.apply(ws);
    ws.handshake(host, "/");
    echo(ws);
}

int main(int, char** args) {
    std::string folder = args[1];
    asio::io_context io;
    asio::ssl::context server_tls(asio::ssl::context::tls_server), client_tls(asio::ssl::context::tls_client);
    server_tls.use_certificate_chain_file(folder + "/cert.pem");
    server_tls.use_private_key_file(folder + "/key.pem", asio::ssl::context::pem);
    client_tls.load_verify_file(folder + "/ca.pem");
    client_tls.set_verify_mode(asio::ssl::verify_peer);
    client_tls.set_verify_callback(asio::ssl::host_name_verification("127.0.0.1"));
    say("version " + std::string(BOOST_BEAST_VERSION_STRING) + " of Boost " BOOST_LIB_VERSION);
    const tcp::endpoint any(asio::ip::make_address("127.0.0.1"), 0);
    for (std::string line; std::getline(std::cin, line);) try {
            std::istringstream words(line);
            std::string verb, port;
            order o;
            words >> verb >> o.scheme;
            if (verb == "dial") words >> port;
            words >> o.mode >> o.bits;
            tcp::socket tcp(io);
            if (verb == "listen") {
                tcp::acceptor acceptor(io, any);
                say("port " + std::to_string(acceptor.local_endpoint().port()));
                acceptor.accept(tcp);
            } else {
                tcp.connect({any.address(), static_cast<unsigned short>(std::stoi(port))});
            }
            tcp.set_option(tcp::no_delay(true));
            std::string host = "127.0.0.1:" + port;
            if (o.scheme == "ws") {
                websocket::stream<tcp::socket> ws(std::move(tcp));
                verb == "listen" ? serve(std::move(ws), o) : dial(std::move(ws), o, host);
            } else {
                bool listens = verb == "listen";
                websocket::stream<beast::ssl_stream<tcp::socket>> ws(std::move(tcp), listens ? server_tls : client_tls);
                ws.next_layer().handshake(listens ? asio::ssl::stream_base::server : asio::ssl::stream_base::client);
                listens ? serve(std::move(ws), o) : dial(std::move(ws), o, host);
            }
        } catch (const std::exception& e) {
            say(std::string("error ") + e.what());
        }
}
