/// Runs a target on mutated seeds:
///
///     fuzz_NAME [--runs N] [--seconds S] [--seed X] [--first I] [--write-seeds FOLDER] [FILE...]
///
/// Inputs I, I + 1, ... of sequence X until N are done or S seconds have passed; N and S by default are what a test
/// suite can afford. With only --seconds, as many as fit. With FILEs, those and nothing else. A failing input is kept
/// and named; exit status 1.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>
#include <stdexcept>

#include "runtime/error.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/mutate.hpp"

namespace {

using namespace troupe;

constexpr unsigned seconds_per_input_max = 20;
constexpr rlim_t growth_bytes_max = rlim_t{2} << 30;  // of the process, while it reads

struct options {
  std::optional<std::uint64_t> runs;
  std::optional<double> seconds;
  std::uint64_t seed = 1;
  std::uint64_t first = 0;
  std::string write_seeds;
  std::vector<std::string> files;
};

options parse(int argc, char** argv) {
  options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view key = argv[i];
    if (!key.starts_with("--")) {
      o.files.emplace_back(key);
      continue;
    }
    if (i + 1 == argc)
      throw std::invalid_argument(std::string(key) + " needs a value");
    const std::string value = argv[++i];
    if (key == "--runs")
      o.runs = std::stoull(value);
    else if (key == "--seconds")
      o.seconds = std::stod(value);
    else if (key == "--seed")
      o.seed = std::stoull(value);
    else if (key == "--first")
      o.first = std::stoull(value);
    else if (key == "--write-seeds")
      o.write_seeds = value;
    else
      throw std::invalid_argument("unknown option " + std::string(key));
  }
  return o;
}

// -- what a signal handler needs of the input at hand ----------------------------

std::string input_at_hand;
char kept_path[4096];

void keep_input() noexcept {
  const int file = open(kept_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  bool kept = file >= 0;
  for (std::string_view rest(input_at_hand); kept && !rest.empty();) {
    const ssize_t written = write(file, rest.data(), rest.size());
    kept = written > 0;
    if (kept)
      rest.remove_prefix(static_cast<std::size_t>(written));
  }
  if (file >= 0)
    close(file);
  const std::string_view words = kept ? "the input is kept; run this program on it: " : "cannot keep the input as ";
  // Nothing is left to do where standard error is closed too.
  [[maybe_unused]] ssize_t ignored = write(STDERR_FILENO, words.data(), words.size());
  ignored = write(STDERR_FILENO, kept_path, std::strlen(kept_path));
  ignored = write(STDERR_FILENO, "\n", 1);
}

void on_signal(int which) {
  const char* reason = which == SIGALRM ? "reading took too long\n" : "reading crashed\n";
  [[maybe_unused]] const ssize_t ignored = write(STDERR_FILENO, reason, std::strlen(reason));
  keep_input();
  _exit(1);
}

void watch() {
  // A stack that recursion has used up cannot serve the handler too.
  static char handler_stack[1 << 16];
  stack_t stack{};
  stack.ss_sp = handler_stack;
  stack.ss_size = sizeof handler_stack;
  sigaltstack(&stack, nullptr);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  for (int which : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM})
    sigaction(which, &action, nullptr);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Blocks that are each small enough must not add up either, nor mappings.
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t limit = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + growth_bytes_max;
  const rlimit bounds{limit, limit};
  setrlimit(RLIMIT_AS, &bounds);
#endif
}

/// Whether the target accepts the input; an input_error refuses it.
bool accepts(std::string input) {
  input_at_hand = std::move(input);
  alarm(seconds_per_input_max);
  try {
    fuzz::read(input_at_hand);
    alarm(0);
    return true;
  } catch (const input_error& refusal) {
    alarm(0);
    if (*refusal.what() == '\0')
      throw std::logic_error("an input_error without a message");
    return false;
  }
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void run(const options& o) {
  for (const std::string& file : o.files)
    std::printf("%s: %s\n", file.c_str(), accepts(contents(file)) ? "accepted" : "refused");
  if (!o.files.empty())
    return;

  const std::vector<std::string> seeds = fuzz::seeds();
  for (std::size_t i = 0; i < seeds.size(); ++i)
    if (!accepts(seeds[i]))
      throw std::logic_error("seed input " + std::to_string(i) + " was refused, though it is valid");
  if (!o.write_seeds.empty()) {
    std::filesystem::create_directories(o.write_seeds);
    for (std::size_t i = 0; i < seeds.size(); ++i)
      std::ofstream(std::filesystem::path(o.write_seeds) / std::to_string(i), std::ios::binary) << seeds[i];
    return;
  }

  using clock = std::chrono::steady_clock;
  const std::uint64_t runs = o.runs.value_or(o.seconds ? std::numeric_limits<std::uint64_t>::max() : 20000);
  const auto end = clock::now() + std::chrono::duration<double>(o.seconds.value_or(o.runs ? 1e9 : 5));
  std::uint64_t done = 0, accepted = 0;
  for (; done < runs && clock::now() < end; ++done) {
    const std::uint64_t index = o.first + done;
    try {
      accepted += accepts(fuzz::mutated(seeds, o.seed, index));
    } catch (...) {
      std::fprintf(stderr, "input %llu of sequence %llu:\n", static_cast<unsigned long long>(index),
                   static_cast<unsigned long long>(o.seed));
      throw;
    }
  }
  std::printf("sequence %llu: %llu inputs, %llu of them accepted\n", static_cast<unsigned long long>(o.seed),
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(accepted));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const options o = parse(argc, argv);
    std::snprintf(kept_path, sizeof kept_path, "%s/%s.%d.failed", std::filesystem::temp_directory_path().c_str(),
                  std::filesystem::path(argv[0]).filename().c_str(), static_cast<int>(getpid()));
    watch();
    run(o);
    return 0;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    if (!input_at_hand.empty())
      keep_input();
    return 1;
  }
}
