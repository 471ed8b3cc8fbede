// Boost.Beast as a client of the benchmarks, with blocking calls.
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/version.hpp>

#include "peer.hpp"

namespace beast = boost::beast;
namespace net = boost::asio;
using tcp = net::ip::tcp;

template <class Stream>
void run(Stream& ws, Turn& turn, const Address& a) {
  ws.handshake(a.host + ":" + a.port, a.path);
  ws.text(true);
  beast::flat_buffer buffer;
  auto read = [&] {
    buffer.clear();
    ws.read(buffer);
    return static_cast<const char*>(buffer.data().data());
  };
  if (turn.role == "feed") {
    for (const char* p = read(); turn.feed(p, buffer.size()); p = read()) {
    }
    return;
  }
  const std::string text = turn.text();
  for (int64_t sent;;) {
    sent = now();
    ws.write(net::buffer(text));
    read();
    if (buffer.size() != text.size()) throw std::runtime_error("not an echo");
    if (!turn.trip(now() - sent)) return;
  }
}

int main(int argc, char** argv) try {
  Turn turn(argc, argv);
  const Address a = turn.address();
  net::io_context io;
  tcp::resolver resolver(io);
  const auto to = resolver.resolve(a.host, a.port);
  if (a.tls) {
    net::ssl::context context(net::ssl::context::tls_client);
    context.set_verify_mode(net::ssl::verify_none);
    beast::websocket::stream<net::ssl::stream<tcp::socket>> ws(io, context);
    net::connect(beast::get_lowest_layer(ws), to);
    ws.next_layer().next_layer().set_option(tcp::no_delay(true));
    ws.next_layer().handshake(net::ssl::stream_base::client);
    run(ws, turn, a);
  } else {
    beast::websocket::stream<tcp::socket> ws(io);
    net::connect(ws.next_layer(), to);
    ws.next_layer().set_option(tcp::no_delay(true));
    run(ws, turn, a);
  }
  std::string version = BOOST_LIB_VERSION;
  turn.print(version.replace(version.find('_'), 1, "."));
  std::_Exit(0);
} catch (const std::exception& e) {
  std::cerr << e.what() << std::endl;
  return 1;
}
