/// Times messages between two processes over loopback: Troupe's tcp_network, plain and encrypted, a bare socket (what
/// blocking calls reach on this machine), bare UCX active messages over TCP (where libucx was found), and CAF's own wire,
/// in turns.
///
///     build/bin/bench_transport [ROUNDS] [NAME...]     5 rounds; NAME: troupe, sockets, ucx, caf, troupe-tls
///
///                 round trip us   one way GB/s   each way GB/s
///     troupe               12.0           5.30            3.22
///     sockets               4.9           3.05            1.79
///     ucx                   8.3           3.65            1.74
///     caf                  33.8           1.79            0.51
///     troupe-tls           15.0           1.25            0.66
///
/// (on 2 cores; on idle ones a round trip waits for two of them to wake up.)
///
/// round trip: the median of small messages sent to and fro one at a time, each answered by the thread that received
/// it. one way: messages of 4 MB from one process to the other. each way: the same in both directions at once; the sum
/// is twice that. All are medians over the rounds, of contestants that ran in turns.
///
/// Sources are so many that they come from memory, and receivers have the bytes in memory of their own. CAF has no
/// bound on what waits; what is sent at once here fits in memory.

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "tests/bench/median.hpp"
#include "tests/bench/transport/contestant.hpp"

namespace {

using namespace troupe::bench;
using clock_type = std::chrono::steady_clock;

constexpr std::uint64_t ping = 1, pong = 2, count_to = 3, counted = 4, send_bulks = 5, quit = 6, ready = 7;
constexpr std::uint64_t round_trips = 2'000, bulks = 200;

const std::map<std::string, std::function<std::unique_ptr<contestant>()>> makers = {
    {"troupe", make_troupe},
    {"troupe-tls", make_troupe_tls},
#ifdef TROUPE_BENCH_UCX
    {"ucx", make_ucx},
#endif
    {"caf", make_caf},
    {"sockets", make_sockets},
};

struct figures {
  double round_trip_us = 0;
  double one_way = 0;   // GB/s
  double each_way = 0;
};

double seconds_since(clock_type::time_point begin) {
  return std::chrono::duration<double>(clock_type::now() - begin).count();
}

/// Lets a thread wait for what another counts.
class counter {
 public:
  void add() {
    const std::lock_guard held(mutex_);
    ++value_;
    changed_.notify_all();
  }
  void await(std::uint64_t value) {
    std::unique_lock held(mutex_);
    if (!changed_.wait_for(held, std::chrono::seconds(60), [&] { return value_ >= value; }))
      throw std::runtime_error("nothing came for a minute");
  }
  bool reached(std::uint64_t value) {
    const std::lock_guard held(mutex_);
    return value_ >= value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t value_ = 0;
};

/// The process that was forked: does what it is told.
void serve(const std::string& name, const std::string& where) {
  const auto it = makers.at(name)();
  counter orders, quits;
  std::uint64_t received = 0, target = ~std::uint64_t{0}, to_send = 0;  // of the contestant's thread, save to_send
  const auto report = [&] {
    if (received < target)
      return;
    target = ~std::uint64_t{0};
    it->send({counted, received});
  };
  it->on_control = [&](control message) {
    if (message.what == ping)
      it->send({pong, message.number});
    if (message.what == count_to) {
      target = message.number;
      report();
    }
    if (message.what == send_bulks) {
      to_send = message.number;
      orders.add();
    }
    if (message.what == quit)
      quits.add();
  };
  it->on_bulk = [&] {
    ++received;
    report();
  };
  it->connect(where);
  it->send({ready, 0});
  // One order is given, before the end.
  orders.await(1);
  for (std::uint64_t i = 0; i < to_send; ++i)
    it->send_bulk();
  quits.await(1);
}

figures measure(const std::string& name) {
  const auto it = makers.at(name)();
  counter readies, trips, counts, received;
  std::vector<double> times;
  auto sent_at = clock_type::now();
  it->on_control = [&](control message) {
    if (message.what == ready)
      readies.add();
    if (message.what == counted)
      counts.add();
    if (message.what != pong)
      return;
    times.push_back(seconds_since(sent_at));
    sent_at = clock_type::now();
    if (message.number < round_trips)
      it->send({ping, message.number + 1});
    else
      trips.add();
  };
  it->on_bulk = [&] { received.add(); };
  const auto where = it->listen();
  const auto child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execl("/proc/self/exe", "bench_transport", "--serve", name.c_str(), where.c_str(), nullptr);
    ::_exit(127);
  }
  figures out;
  try {
    readies.await(1);
    it->send({ping, 1});
    trips.await(1);
    out.round_trip_us = median(times) * 1e6;

    const auto gigabytes = static_cast<double>(bulks * bulk_bytes) * 1e-9;
    const auto send_all = [&] {
      for (std::uint64_t i = 0; i < bulks; ++i)
        it->send_bulk();
    };
    // Once to have all memory at hand.
    it->send({count_to, bulks});
    send_all();
    counts.await(1);
    auto begin = clock_type::now();
    it->send({count_to, 2 * bulks});
    send_all();
    counts.await(2);
    out.one_way = gigabytes / seconds_since(begin);

    begin = clock_type::now();
    it->send({send_bulks, bulks});
    it->send({count_to, 3 * bulks});
    send_all();
    counts.await(3);
    received.await(bulks);
    out.each_way = gigabytes / seconds_since(begin);
    it->send({quit, 0});
  } catch (...) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    throw;
  }
  ::waitpid(child, nullptr, 0);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "--serve") {
    serve(argv[2], argv[3]);
    return 0;
  }
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  std::vector<std::string> names(argv + std::min(argc, 2), argv + argc);
  if (rounds < 1 || !std::ranges::all_of(names, [](const auto& name) { return makers.contains(name); })) {
    std::vector<std::string> known;
    for (const auto& [name, make] : makers)
      known.push_back(name);
    fmt::print(stderr, "usage: bench_transport [ROUNDS] [NAME...]   NAME: {}\n", fmt::join(known, ", "));
    return 2;
  }
  if (names.empty())
    for (const char* each : {"troupe", "sockets", "ucx", "caf", "troupe-tls"})
      if (makers.contains(each))
        names.push_back(each);
  std::map<std::string, std::vector<figures>> all;
  for (int round = 0; round < rounds; ++round)
    for (const auto& name : names)
      all[name].push_back(measure(name));
  fmt::print("{:<10} {:>15} {:>14} {:>15}\n", "", "round trip us", "one way GB/s", "each way GB/s");
  for (const auto& name : names) {
    const auto of = [&](double figures::*which) {
      std::vector<double> values;
      for (const auto& each : all[name])
        values.push_back(each.*which);
      return median(values);
    };
    fmt::print("{:<8} {:>15.1f} {:>14.2f} {:>15.2f}\n", name, of(&figures::round_trip_us), of(&figures::one_way),
               of(&figures::each_way));
  }
}
