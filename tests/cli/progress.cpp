#include "cli/progress.hpp"

#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/cli/files.hpp"

using namespace troupe;

namespace {

progress sample() {
  return {.step = 12,
          .steps = 1000,
          .loss = 2.34567,
          .learning_rate = 1e-3,
          .seconds_per_step = 0.0412,
          .speed = {18'640.0, 0.428},
          .seconds_left = 41.2};
}

evaluation_report evaluation_at(std::uint64_t step, double loss) {
  evaluation_report report;
  report.step = step;
  report.train_loss = loss - 0.1;
  report.validation_loss = loss;
  report.seconds = 1.25;
  return report;
}

/// What a console that is no terminal writes.
template <class F>
std::string written(bool quiet, F use, console::style how = console::style::people) {
  const scratch_folder folder;
  const auto path = folder.path() / "out";
  {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "w"), &std::fclose);
    REQUIRE(file);
    console people(file.get(), quiet, how);
    use(people);
  }
  return read_file(path);
}

}  // namespace

TEST_CASE("the progress line") {
  CHECK(format_progress(sample()) ==
        "step 12/1000 | loss 2.3457 | lr 1.00e-03 | 41.2 ms | 18.6k tok/s | 43 % of peak | eta 0:41");
  auto last = sample();
  last.step = 1000;
  last.speed.peak_ratio = 0.0;  // not measured
  CHECK(format_progress(last) == "step 1000/1000 | loss 2.3457 | lr 1.00e-03 | 41.2 ms | 18.6k tok/s");
}

TEST_CASE("fields that do not fit are left out whole") {
  const auto line = format_progress(sample());
  CHECK(format_progress(sample(), line.size()) == line);
  CHECK(format_progress(sample(), line.size() - 1) ==
        "step 12/1000 | loss 2.3457 | lr 1.00e-03 | 41.2 ms | 18.6k tok/s | 43 % of peak");
  CHECK(format_progress(sample(), 30) == "step 12/1000 | loss 2.3457");
  CHECK(format_progress(sample(), 12) == "step 12/1000");
  CHECK(format_progress(sample(), 11) == "12/1000");
  CHECK(format_progress(sample(), 6) == "12");
  CHECK(format_progress(sample(), 1) == "");
}

TEST_CASE("quantities have three digits that count") {
  CHECK(format_quantity(0) == "0");
  CHECK(format_quantity(999) == "999");
  CHECK(format_quantity(999.6) == "1.00k");
  CHECK(format_quantity(1'234) == "1.23k");
  CHECK(format_quantity(12'340) == "12.3k");
  CHECK(format_quantity(123'400) == "123k");
  CHECK(format_quantity(124'439'808) == "124M");
  CHECK(format_flops(185'000) == "185 kFLOP");
  CHECK(format_flops(4.34e11) == "434 GFLOP");
  CHECK(format_bytes(512) == "512 B");
  CHECK(format_bytes(9'662'464) == "9.66 MB");
  CHECK(format_bytes(1.5e15) == "1500 TB");
}

TEST_CASE("times") {
  CHECK(format_time(0.4) == "0:00");
  CHECK(format_time(59.6) == "1:00");
  CHECK(format_time(723) == "12:03");
  CHECK(format_time(11'279) == "3:07:59");
  CHECK(format_time(-1) == "?");
  CHECK(format_time(std::numeric_limits<double>::quiet_NaN()) == "?");
}

TEST_CASE("evaluations, cuts and the end") {
  CHECK(format_evaluation(evaluation_at(250, 2.2), true) ==
        "evaluation at step 250 | train loss 2.1000 | validation loss 2.2000 (best) | 1.2 s");
  cut_report cut;
  cut.step = 250;
  cut.path = "runs/x/checkpoints/step-000000250";
  cut.size_bytes = 9'662'464;
  cut.pause_seconds = 0.0004;
  cut.write_seconds = 0.125;
  CHECK(format_cut(cut) ==
        "cut at step 250 | 9.66 MB | paused 0.4 ms | written in 0.12 s | runs/x/checkpoints/step-000000250");
  job_summary summary;
  summary.steps = 300;
  summary.last_loss = 1.5;
  summary.tokens = 230'400;
  summary.seconds = 12.0;
  summary.fingerprint = "abc";
  CHECK(format_summary(summary, {19'200.0, 0.5}) ==
        "done at step 300 | loss 1.5000\n230k tokens in 0:12 | 19.2k tok/s | 50 % of peak\nfingerprint abc");
  summary.interrupted = true;
  summary.restarts = 2;
  summary.killed = 1;
  summary.best_evaluation = evaluation_at(250, 2.2);
  CHECK(format_summary(summary, {19'200.0, 0.0}) ==
        "interrupted at step 300 | loss 1.5000 | best validation loss 2.2000 at step 250\n"
        "230k tokens in 0:12 | 19.2k tok/s\n1 killed | 2 restarted | 0 rolled back | 0 replayed\nfingerprint abc");
}

TEST_CASE("elsewhere than on a terminal, plain lines come now and then") {
  const auto text = written(false, [](console& people) {
    for (int i = 0; i < 100; ++i)
      people.show(sample());
    people.say("said");
    auto last = sample();
    last.step = last.steps;
    people.show(last, true);
  });
  CHECK(text == format_progress(sample()) +
                  "\nsaid\nstep 1000/1000 | loss 2.3457 | lr 1.00e-03 | 41.2 ms | 18.6k tok/s | 43 % of peak\n");
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("a quiet console only warns") {
  CHECK(written(true, [](console& people) {
          people.show(sample(), true);
          people.say("said");
          people.warn("warning: careful");
        }) == "warning: careful\n");
}

TEST_CASE("in a log every line has its time and its node, and none is redrawn") {
  const auto text = written(false, [](console& people) {
    people.set_node(0);
    people.show(sample(), true);
    people.say("said");
    people.say({.event = "lost", .message = "gone for good", .level = log_level::warn, .node = 3});
  }, console::style::log);
  std::istringstream lines(text);
  std::vector<std::string> found;
  for (std::string line; std::getline(lines, line);)
    found.push_back(line.substr(line.find(' ')));
  CHECK(found == std::vector<std::string>{" level=info node=0 event=progress msg=\"" + format_progress(sample()) + "\"",
                                          " level=info node=0 event=note msg=said",
                                          " level=warn node=3 event=lost msg=\"gone for good\""});
}
