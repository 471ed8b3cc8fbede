// What the programs in C++ share. The Go package peers says what the arguments mean and
// what is printed.
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

// CPU time of this process in nanoseconds, as the kernel accounts it.
inline int64_t cpu() {
  rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (int64_t(u.ru_utime.tv_sec) + u.ru_stime.tv_sec) * 1000000000 + (int64_t(u.ru_utime.tv_usec) + u.ru_stime.tv_usec) * 1000;
}

inline int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Address {
  bool tls;
  std::string host, port, path;
};

// Turn is what is measured, message by message.
class Turn {
 public:
  Turn(int argc, char** argv) {
    if (argc < 4) throw std::runtime_error("LIBRARY ROLE URL key=value...");
    role = argv[2];
    url = argv[3];
    for (int i = 4; i < argc; i++) {
      std::string s = argv[i];
      auto at = s.find('=');
      options[s.substr(0, at)] = std::stoll(s.substr(at + 1));
    }
    left = options["warm"];
  }

  Address address() const {
    Address a;
    auto scheme = url.find("://");
    a.tls = url.substr(0, scheme) == "wss";
    auto rest = url.substr(scheme + 3);
    auto slash = rest.find('/');
    a.path = slash == std::string::npos ? "/" : rest.substr(slash);
    auto host = rest.substr(0, slash);
    auto colon = host.find(':');
    a.host = host.substr(0, colon);
    a.port = host.substr(colon + 1);
    return a;
  }

  std::string text() { return "{\"x\":\"" + std::string(options["size"] - 8, 'x') + "\"}"; }

  // feed takes a message. It returns false when the turn is over.
  bool feed(const char* p, size_t n) {
    bytes += n;
    sum += uint8_t(p[0]) + uint8_t(p[n - 1]);
    if (--left > 0) return true;
    left = options["chunk"];
    if (!measuring) {
      begin();
      return true;
    }
    messages += options["chunk"];
    if (cpu() - cpu_before < options["cpu"] && messages + options["chunk"] <= options["messages"]) return true;
    end();
    return false;
  }

  // trip takes a round trip. It returns false when it was the last one.
  bool trip(int64_t took) {
    if (!measuring) {
      if (--left <= 0) begin();
      return true;
    }
    times.push_back(took);
    if (++messages < options["messages"]) return true;
    end();
    return false;
  }

  void print(const std::string& version) const {
    std::cout << "{\"version\":\"" << version << "\",\"messages\":" << messages << ",\"bytes\":" << bytes << ",\"sum\":" << sum
              << ",\"cpu_ns\":" << cpu_used << ",\"wall_ns\":" << wall_used;
    if (!times.empty()) {
      std::cout << ",\"times_ns\":[";
      for (size_t i = 0; i < times.size(); i++) std::cout << (i ? "," : "") << times[i];
      std::cout << "]";
    }
    std::cout << "}" << std::endl;
  }

  std::string role, url;

 private:
  void begin() {
    measuring = true;
    if (role == "trips") times.reserve(options["messages"]);
    wall_before = now();
    cpu_before = cpu();
  }
  void end() {
    cpu_used = cpu() - cpu_before;
    wall_used = now() - wall_before;
  }

  std::map<std::string, int64_t> options;
  bool measuring = false;
  int64_t left = 0, messages = 0, bytes = 0, cpu_before = 0, wall_before = 0, cpu_used = 0, wall_used = 0;
  uint64_t sum = 0;
  std::vector<int64_t> times;
};
