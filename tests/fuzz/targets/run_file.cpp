#include "cli/run_file.hpp"

#include <stdexcept>

#include "tests/fuzz/fuzz.hpp"

std::vector<std::string> troupe::fuzz::seeds() {
  run_file full;
  full.data.path = "text.txt";
  return {
    "data.path = \"a.txt\"",
    "[data]\npath = \"a.txt\"\n[model]\nkind = \"llama\"\nkv_heads = 2\n[optimizer]\nlearning_rate = 1e-3\n"
    "[checkpoint]\nkeep_age = \"90s\"\n[[chaos.kill]]\nactor = \"shard/0\"\nstep = 3\n",
    "name = 'x' # comment\ndata = { path = \"b\\t\", order = \"with_replacement\" }\n"
    "training.recompute = \"0-1,3\"\ntraining.steps = 0x10\nmodel.layers = 4\n"
    "supervision.window = \"1.5m\"\nchaos.actors = [\n"
    "  \"replica/0\",\n  \"loader/0\",\n]\n",
    print_run_file(full),
  };
}

void troupe::fuzz::read(std::string_view bytes) {
  const auto run = parse_run_file(bytes, "run.toml");
  const auto printed = print_run_file(run);
  if (print_run_file(parse_run_file(printed, "printed.toml")) != printed)
    throw std::logic_error("what is printed does not read back the same");
  config::diagnostics report;
  check_run_file(run, config::parse_toml(bytes, "run.toml"), 2, report);
  report.throw_if_failed();
}
