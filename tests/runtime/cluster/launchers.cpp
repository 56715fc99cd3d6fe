/// The examples for batch systems, checked as far as one can without one.

#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "tests/scratch_folder.hpp"

using namespace troupe;

namespace {

const std::filesystem::path source = TROUPE_SOURCE_DIR;

int run_shell(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1'000;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A job of Slurm's, with commands that only note how they are called.
struct fake_slurm {
  scratch_folder folder;
  /// The head ends the script, and the script ends srun, which shall have made its note by then.
  const std::string await_srun = "until grep -qs srun $NOTES; do sleep 0.01; done; ";

  const std::string certs = "[ $1 = certs ] && { echo \"troupe $*\" >>$NOTES; exit; }; ";

  fake_slurm() {
    put("troupe", certs + await_srun + "echo \"troupe $*\" >>$NOTES; [ -n \"$TROUPE_SECRET\" ] && "
                                       "echo secret and $TROUPE_TLS >>$NOTES; exit 6");
    put("srun", "echo \"srun $* at $MASTER_PORT\" >>$NOTES");
  }

  void put(const std::string& name, std::string_view script) const {
    const auto file = folder.path() / name;
    std::ofstream(file) << "#!/bin/sh\n" << script << "\n";
    chmod(file.c_str(), 0755);
  }
  int submit() const {
    return run_shell(fmt::format("cd {0} && PATH={0}:$PATH NOTES={0}/notes SLURM_JOB_ID=40003 bash "
                                 "{1}/examples/slurm.sbatch folder/small.toml",
                                 folder.path().string(), source.string()));
  }
  std::string notes() const { return read(folder.path() / "notes"); }
};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("the Slurm script is a script") {
  CHECK(run_shell(fmt::format("bash -n {}/examples/slurm.sbatch", source.string())) == 0);
}

TEST_CASE_FIXTURE(fake_slurm, "the Slurm script starts a head and nodes, and ends as the head does") {
  CHECK(submit() == 6);
  CHECK(contains(notes(),
                 "troupe train folder/small.toml --run-dir runs/small --listen 0.0.0.0:20003 --min-nodes 1\n"
                 "secret and runs/small-tls\n"));
  CHECK(notes().starts_with("troupe certs runs/small-tls --days 90\n"));
  CHECK(contains(notes(), "srun --no-kill --kill-on-bad-exit=0 --wait=0 troupe node at 20003\n"));
}

TEST_CASE_FIXTURE(fake_slurm, "a requeued job goes on with the run that it began") {
  std::filesystem::create_directories(folder.path() / "runs/small");
  std::ofstream(folder.path() / "runs/small/config.toml");
  CHECK(submit() == 6);
  CHECK(contains(notes(), "--run-dir runs/small --resume --listen"));
}

TEST_CASE_FIXTURE(fake_slurm, "the head is told of Slurm's signals, and is waited for after them") {
  // It signals the script, and leaves when the signal has come back.
  put("troupe", certs + await_srun + "trap 'echo cut >>$NOTES; kill -TERM $PPID' USR1; "
                                     "trap 'echo leave >>$NOTES; exit 6' TERM; "
                                     "kill -USR1 $PPID; while :; do sleep 0.01; done");
  CHECK(submit() == 6);
  CHECK(contains(notes(), "cut\nleave\n"));
}

TEST_CASE("the Kubernetes manifest parses, and its parts find each other") {
  if (run_shell("python3 -c 'import yaml' 2>/dev/null") != 0) {
    MESSAGE("skipped: no python3 here can import yaml");
    return;
  }
  CHECK(run_shell(fmt::format("python3 {0}/tests/runtime/cluster/check_kubernetes.py {0}/examples/kubernetes.yaml",
                              source.string())) == 0);
}
