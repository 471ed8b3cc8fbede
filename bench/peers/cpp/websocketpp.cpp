// WebSocket++ as a client of the benchmarks: its event loop calls a handler for each message.
#include <websocketpp/client.hpp>
#include <websocketpp/config/asio_client.hpp>
#include <websocketpp/config/asio_no_tls_client.hpp>
#include <websocketpp/version.hpp>

#include "peer.hpp"

using websocketpp::connection_hdl;

// The library's configurations, with a read buffer of 64 KiB instead of 16.
struct plain : websocketpp::config::asio_client {
  static const size_t connection_read_buffer_size = 65536;
};
struct tls : websocketpp::config::asio_tls_client {
  static const size_t connection_read_buffer_size = 65536;
};

template <class Client>
void run(Client& client, Turn& turn) {
  client.clear_access_channels(websocketpp::log::alevel::all);
  client.clear_error_channels(websocketpp::log::elevel::all);
  client.init_asio();
  client.set_tcp_post_init_handler([&](connection_hdl h) {
    client.get_con_from_hdl(h)->get_raw_socket().set_option(websocketpp::lib::asio::ip::tcp::no_delay(true));
  });
  std::string text;
  int64_t sent = 0;
  auto send = [&](connection_hdl h) {
    sent = now();
    client.send(h, text, websocketpp::frame::opcode::text);
  };
  auto over = [&] {
    turn.print(websocketpp::user_agent + 12);  // after "WebSocket++/"
    std::_Exit(0);
  };
  if (turn.role == "trips") {
    text = turn.text();
    client.set_open_handler(send);
  }
  client.set_message_handler([&](connection_hdl h, typename Client::message_ptr m) {
    const std::string& p = m->get_payload();
    if (turn.role == "feed") {
      if (!turn.feed(p.data(), p.size())) over();
      return;
    }
    if (p.size() != text.size()) throw std::runtime_error("not an echo");
    if (!turn.trip(now() - sent)) over();
    send(h);
  });
  client.set_fail_handler([](connection_hdl) { throw std::runtime_error("no connection"); });
  client.set_close_handler([](connection_hdl) { throw std::runtime_error("closed"); });
  websocketpp::lib::error_code err;
  auto connection = client.get_connection(turn.url, err);
  if (err) throw std::runtime_error(err.message());
  client.connect(connection);
  client.run();
}

int main(int argc, char** argv) try {
  Turn turn(argc, argv);
  if (turn.address().tls) {
    websocketpp::client<tls> client;
    client.set_tls_init_handler([](connection_hdl) {
      namespace ssl = websocketpp::lib::asio::ssl;
      auto context = websocketpp::lib::make_shared<ssl::context>(ssl::context::tls_client);
      context->set_verify_mode(ssl::verify_none);
      return context;
    });
    run(client, turn);
  } else {
    websocketpp::client<plain> client;
    run(client, turn);
  }
  return 1;
} catch (const std::exception& e) {
  std::cerr << e.what() << std::endl;
  return 1;
}
