#include "runtime/cluster/local_processes.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {  // the header of glibc 2.36 forgets to say so
#include <sys/pidfd.h>
}

#include <condition_variable>
#include <csignal>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "runtime/error.hpp"
#include "tests/scratch_folder.hpp"

using namespace troupe;
using std::chrono::milliseconds;

namespace {

/// Ends as they are told, for a test to wait for.
class told_ends {
 public:
  void operator()(const local_process_end& end) {
    const std::lock_guard guard(mutex_);
    ends_.push_back(end);
    more_.notify_all();
  }

  std::vector<local_process_end> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    more_.wait(lock, [&] { return ends_.size() >= count; });
    return ends_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<local_process_end> ends_;
};

struct fixture {
  scratch_folder folder;
  told_ends ends;

  process_command shell(const std::string& script) const {
    return {{"/bin/sh", "-c", script}, {}, folder.path() / "log"};
  }
  process_command sleep() const { return {{"/bin/sleep", "1000"}, {}, folder.path() / "log"}; }
  local_process_options options() {
    return {.replacement = {}, .on_end = [this](const local_process_end& end) { ends(end); }};
  }
  std::string log() const {
    std::ifstream file(folder.path() / "log");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void wait_for_log(std::string_view text) const {
    while (log().find(text) == std::string::npos)
      std::this_thread::sleep_for(milliseconds{1});
  }
};

/// Gone, or dead and not yet taken away by whoever inherited it.
bool lives(pid_t id) {
  std::ifstream file(fmt::format("/proc/{}/stat", id));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto name_end = text.rfind(") ");
  return name_end != std::string::npos && text[name_end + 2] != 'Z' && text[name_end + 2] != 'X';
}

}  // namespace

TEST_CASE_FIXTURE(fixture, "ends are told with their place and in words") {
  local_processes all({shell("exit 3"), shell("kill -9 $$"), sleep()}, options());
  for (const auto& end : ends.wait_for(2)) {
    CHECK(end.start == 1);
    CHECK(end.id > 0);
    CHECK(!end.replaced_after);
    if (end.index == 0) {
      CHECK(end.how.exit_status == 3);
      CHECK(end.text == "exited with status 3");
    } else {
      CHECK(end.how.signal == SIGKILL);
      CHECK(end.text == "was killed by signal 9 (Killed)");
    }
  }
  const auto ids = all.ids();
  CHECK(ids[0] == 0);
  CHECK(ids[1] == 0);
  CHECK(lives(ids[2]));
}

TEST_CASE_FIXTURE(fixture, "a child gets its environment beside ours, an empty stdin, and appends to its log") {
  setenv("TROUPE_TEST_OURS", "ours", 1);
  setenv("TROUPE_TEST_BOTH", "ours", 1);
  std::ofstream(folder.path() / "log") << "before\n";
  auto command = shell("echo $TROUPE_TEST_OURS $TROUPE_TEST_BOTH; cat; echo oops >&2");
  command.environment = {{"TROUPE_TEST_BOTH", "its own"}};
  local_processes all({command}, options());
  ends.wait_for(1);
  CHECK(log() == "before\nours its own\noops\n");
  unsetenv("TROUPE_TEST_OURS");
  unsetenv("TROUPE_TEST_BOTH");
}

TEST_CASE_FIXTURE(fixture, "a child has a process group of its own and none of our descriptors") {
  constexpr int leaky = 77;
  REQUIRE(dup2(STDIN_FILENO, leaky) == leaky);  // without O_CLOEXEC
  local_processes all({shell("read -r pid name state parent group rest </proc/self/stat; "
                             "[ $group = $$ ] && echo alone; [ -e /proc/self/fd/77 ] || echo closed")},
                      options());
  ends.wait_for(1);
  close(leaky);
  CHECK(log() == "alone\nclosed\n");
}

TEST_CASE_FIXTURE(fixture, "a child's signals are as at login, whatever ours are") {
  struct sigaction ignore {}, before {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGTERM, &ignore, &before);
  sigset_t blocked, mask_before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &mask_before);
  {
    local_processes all({shell("kill -TERM $$; exit 3")}, options());
    CHECK(ends.wait_for(1).front().how.signal == SIGTERM);
  }
  pthread_sigmask(SIG_SETMASK, &mask_before, nullptr);
  sigaction(SIGTERM, &before, nullptr);
}

TEST_CASE_FIXTURE(fixture, "stop ends all, by force where SIGTERM is not heeded, and tells each end") {
  auto chosen = options();
  chosen.stop_within = milliseconds{50};
  // In bounded time only because force is used in the end.
  local_processes all({sleep(), shell("trap '' TERM; echo ready; while :; do sleep 1; done")}, chosen);
  wait_for_log("ready");
  const auto ids = all.ids();
  all.stop();
  all.stop();
  const auto told = ends.wait_for(2);
  REQUIRE(told.size() == 2);
  for (const auto& end : told)
    CHECK(end.how.signal == (end.index == 0 ? SIGTERM : SIGKILL));
  for (const auto id : ids)
    CHECK(!lives(id));
}

TEST_CASE_FIXTURE(fixture, "a process that ends leaves nobody of its group") {
  local_processes all({shell("sleep 1000 & echo $!")}, options());
  ends.wait_for(1);
  const auto grandchild = static_cast<pid_t>(std::stoi(log()));
  while (lives(grandchild))
    std::this_thread::sleep_for(milliseconds{1});
}

TEST_CASE_FIXTURE(fixture, "a dead process is replaced, after growing delays, until its index has had its share") {
  auto chosen = options();
  chosen.replacement = {.max = 3,
                        .window = std::chrono::hours{1},
                        .delay = {.first = milliseconds{1}, .max = milliseconds{2}, .jitter = 0.0}};
  local_processes all({shell("echo started; exit 1"), shell("exit 0"), sleep()}, chosen);
  all.signal(2, SIGKILL);
  std::vector<std::vector<local_process_end>> by_index(3);
  for (const auto& end : ends.wait_for(6))
    by_index[end.index].push_back(end);
  REQUIRE(by_index[0].size() == 4);
  const std::vector<std::optional<milliseconds>> delays{milliseconds{1}, milliseconds{2}, milliseconds{2}, {}};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(by_index[0][i].start == i + 1);
    CHECK(by_index[0][i].replaced_after == delays[i]);
  }
  CHECK(log() == "started\nstarted\nstarted\nstarted\n");
  // Who leaves in peace is not replaced.
  REQUIRE(by_index[1].size() == 1);
  CHECK(!by_index[1][0].replaced_after);
  REQUIRE(by_index[2].size() == 1);
  CHECK(by_index[2][0].replaced_after == milliseconds{1});
  while (all.ids()[2] == 0)
    std::this_thread::sleep_for(milliseconds{1});
}

TEST_CASE_FIXTURE(fixture, "a replacement that cannot be started counts as a death") {
  const auto program = folder.path() / "program";
  std::filesystem::copy("/bin/sleep", program);
  auto chosen = options();
  chosen.replacement = {.max = 2, .delay = {milliseconds{1}, milliseconds{1}}};
  local_processes all({{{program.string(), "1000"}, {}, folder.path() / "log"}}, chosen);
  std::filesystem::remove(program);
  all.signal(0, SIGKILL);
  const auto told = ends.wait_for(3);
  CHECK(told[0].how.signal == SIGKILL);
  CHECK(told[2].id == 0);
  CHECK(told[2].start == 3);
  CHECK(told[2].text == fmt::format("{}: cannot start this program: No such file or directory", program.string()));
  CHECK(!told[2].replaced_after);
}

TEST_CASE_FIXTURE(fixture, "where one cannot be started, the constructor says which and leaves none") {
  const process_command missing{{"/no/such/program"}, {}, folder.path() / "log"};
  CHECK_THROWS_WITH_AS(local_processes({shell("echo $$; exec sleep 1000"), missing}, options()),
                       "/no/such/program: cannot start this program: No such file or directory", system_error);
  CHECK_THROWS_WITH_AS(local_processes({{{"/bin/true"}, {}, "/no/such/log"}}, options()),
                       "/no/such/log: cannot open: No such file or directory", system_error);
  if (const auto text = log(); !text.empty())
    CHECK(!lives(static_cast<pid_t>(std::stoi(text))));
}

TEST_CASE_FIXTURE(fixture, "processes outlive the thread that asked for them, but not their object") {
  std::unique_ptr<local_processes> all;
  std::thread([&] { all = std::make_unique<local_processes>(std::vector{sleep()}, options()); }).join();
  const auto id = all->ids().front();
  CHECK(lives(id));
  all.reset();
  CHECK(!lives(id));
  CHECK(ends.wait_for(1).front().how.signal == SIGTERM);  // not the kernel's SIGKILL
}

TEST_CASE_FIXTURE(fixture, "no process outlives a parent that is killed by SIGKILL") {
  int channel[2];
  REQUIRE(pipe2(channel, O_CLOEXEC) == 0);
  const auto parent = fork();
  if (parent == 0) {
    // As many ends as ids, and nothing that doctest could report twice.
    const local_processes all({sleep(), sleep(), shell("trap '' TERM INT HUP; while :; do sleep 1; done")}, {});
    const auto ids = all.ids();
    [[maybe_unused]] const auto written = write(channel[1], ids.data(), ids.size() * sizeof(pid_t));
    for (;;)
      pause();
  }
  REQUIRE(parent > 0);
  pid_t ids[3]{};
  REQUIRE(read(channel[0], ids, sizeof ids) == sizeof ids);
  std::vector<pollfd> watched;
  for (const auto id : ids) {
    watched.push_back({pidfd_open(id, 0), POLLIN, 0});
    REQUIRE(watched.back().fd >= 0);
    CHECK(lives(id));
  }
  kill(parent, SIGKILL);
  waitpid(parent, nullptr, 0);
  for (auto& each : watched) {
    CHECK(poll(&each, 1, -1) == 1);  // readable: ended
    close(each.fd);
  }
  close(channel[0]);
  close(channel[1]);
}
