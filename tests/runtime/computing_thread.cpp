#include "runtime/computing_thread.hpp"

#include <atomic>
#include <future>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "runtime/system.hpp"
#include "tests/comes_true.hpp"

using namespace troupe;
using namespace std::chrono_literals;

namespace {

/// Where a handler runs.
std::size_t this_thread(caf::unit_t) { return std::hash<std::thread::id>{}(std::this_thread::get_id()); }

struct fixture {
  system_config config{2};
  caf::actor_system system{config};
  std::shared_ptr<computing_thread> shared = std::make_shared<computing_thread>(system);

  caf::actor spawn_teller() {
    return spawn_on(shared, [](caf::event_based_actor*) -> caf::behavior { return {this_thread}; });
  }
  std::size_t thread_of(const caf::actor& teller) {
    caf::scoped_actor self{system};
    std::size_t thread = 0;
    self->request(teller, long_enough, caf::unit)
        .receive([&](std::size_t x) { thread = x; }, [&](caf::error& reason) { FAIL(system.render(reason)); });
    return thread;
  }
};

void end(const caf::actor& who) { caf::anon_send_exit(who, caf::exit_reason::user_shutdown); }

}  // namespace

TEST_CASE_FIXTURE(fixture, "actors of a computing thread run on it, each message in the order in which all came") {
  constexpr int rounds = 1'000;
  std::vector<int> seen;  // written by whichever has the turn
  std::set<std::thread::id> threads;
  std::promise<void> over;
  const auto player = [&](caf::event_based_actor* self, int parity) -> caf::behavior {
    return {this_thread, [&, self, parity](int round, const caf::actor& other) {
      threads.insert(std::this_thread::get_id());
      seen.push_back(round);
      CHECK(round % 2 == parity);
      if (round == rounds)
        over.set_value();
      else
        self->send(other, round + 1, caf::actor_cast<caf::actor>(self));
    }};
  };
  const auto even = spawn_on(shared, player, 0), odd = spawn_on(shared, player, 1);
  for (const auto& each : {even, odd})
    thread_of(each);  // that of the first handler may have been relieved by who came in the midst of it
  caf::anon_send(even, 0, odd);
  REQUIRE(over.get_future().wait_for(long_enough) == std::future_status::ready);
  end(even);
  end(odd);
  system.await_all_actors_done();
  CHECK(seen.size() == rounds + 1);
  CHECK(threads.size() == 1);
  CHECK(!threads.contains(std::this_thread::get_id()));
}

TEST_CASE_FIXTURE(fixture, "one that always has something to do does not keep the others of its thread from theirs") {
  const auto busy = spawn_on(shared, [](caf::event_based_actor* self) -> caf::behavior {
    self->send(self, 0);
    return {[self](int round) { self->send(self, round + 1); }};
  });
  CHECK(thread_of(spawn_teller()) != 0);
  end(busy);
}

TEST_CASE_FIXTURE(fixture, "no message to a computing thread is lost, whoever sends it") {
  constexpr int senders = 4, each = 5'000;
  std::atomic<int> came{0};
  const auto counter = [&came](caf::event_based_actor*) -> caf::behavior { return {[&came](int) { ++came; }}; };
  const std::vector<caf::actor> receivers{spawn_on(shared, counter), spawn_on(shared, counter)};
  {
    std::vector<std::jthread> all;
    for (int sender = 0; sender < senders; ++sender)
      all.emplace_back([&] {
        for (int i = 0; i < each; ++i)
          caf::anon_send(receivers[static_cast<std::size_t>(i) % receivers.size()], i);
      });
  }
  for (const auto& receiver : receivers)
    end(receiver);  // not before it has handled what was sent earlier
  system.await_all_actors_done();
  CHECK(came == senders * each);
}

TEST_CASE_FIXTURE(fixture, "an actor of a computing thread can fail, and set timers") {
  const auto failing = spawn_on(shared, [](caf::event_based_actor*) -> caf::behavior {
    return {[](int) { throw std::runtime_error("disk full"); }};
  });
  std::promise<std::size_t> rang;
  const auto timed = spawn_on(shared, [&rang](caf::event_based_actor* self) -> caf::behavior {
    return {this_thread, [self, &rang](int) { run_later(self, 5ms, [&rang] { rang.set_value(this_thread({})); }); }};
  });
  caf::scoped_actor self{system};
  caf::anon_send(failing, 0);
  self->wait_for(failing);
  const auto thread = thread_of(timed);
  caf::anon_send(timed, 0);
  auto ring = rang.get_future();
  REQUIRE(ring.wait_for(long_enough) == std::future_status::ready);
  CHECK(ring.get() == thread);
  end(timed);
}

TEST_CASE_FIXTURE(fixture, "an actor stuck in a handler does not hold up who comes to its computing thread after it") {
  std::promise<void> entered, release, left;
  const auto stuck = spawn_on(shared, [&](caf::event_based_actor*) -> caf::behavior {
    return {[&](int) {
      entered.set_value();
      release.get_future().wait();
    },
            [&](double) { left.set_value(); }};
  });
  const auto before = spawn_teller();
  thread_of(before);
  caf::anon_send(stuck, 0);
  entered.get_future().wait();
  const auto after = spawn_teller();
  CHECK(thread_of(before) == thread_of(after));
  caf::anon_send(stuck, 1.0);
  release.set_value();
  REQUIRE(left.get_future().wait_for(long_enough) == std::future_status::ready);
  for (const auto& each : {stuck, before, after})
    end(each);
}

TEST_CASE_FIXTURE(fixture, "a computing thread ends with its last actor, whoever holds its handle, and comes back with the next") {
  const auto without = system.detached_actors();  // counts threads
  const auto first = spawn_teller(), last = spawn_teller();
  CHECK(thread_of(first) != 0);
  end(first);
  CHECK(thread_of(last) != 0);
  CHECK(comes_true([&] { return system.detached_actors() == without + 1; }));
  end(last);
  CHECK(comes_true([&] { return system.detached_actors() == without; }));
  const auto another = spawn_teller();
  CHECK(thread_of(another) != 0);
  CHECK(system.detached_actors() == without + 1);
  end(another);
}
