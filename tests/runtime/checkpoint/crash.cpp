#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/runtime/checkpoint/support.hpp"

/// A process that writes a cut dies before each step of writing. What it had not flushed is kept, lost, or lost in
/// part, as a power failure may have it. Whatever happens, the newest good cut is the old one or the new one, and the
/// new one for sure once its directory was flushed.
///
/// Not simulated: a removal that is undone by the failure, which at worst brings an older cut back.

using namespace troupe;
using namespace checkpoint_test;

namespace {

enum class loss { nothing, everything, something };

/// What a power failure may take: contents of files and names in directories that were not flushed.
class power_failure {
 public:
  power_failure(fs::path root, std::uint64_t steps_until, loss kind, std::uint64_t seed)
      : root_(std::move(root)), remaining_(steps_until), kind_(kind), random_(seed) {}

  void before(write_step step, const fs::path& subject) {
    if (remaining_-- == 0)
      strike();
    switch (step) {
      case write_step::write_block:
        unflushed_files_.insert(inode_of(subject));
        break;
      case write_step::sync_file:
        unflushed_files_.erase(inode_of(subject));
        break;
      case write_step::rename:
        renames_.push_back({subject, inode_of(subject)});
        break;
      case write_step::sync_directory:
        std::erase_if(renames_, [&](const auto& done) { return done.from.parent_path() == subject; });
        break;
      case write_step::make_directory:
      case write_step::create_file:
      case write_step::remove:
        break;
    }
  }

 private:
  struct renaming {
    fs::path from;
    ino_t inode;
  };

  static ino_t inode_of(const fs::path& file) {
    struct stat status {};
    return ::stat(file.c_str(), &status) == 0 ? status.st_ino : 0;
  }

  [[noreturn]] void strike() {
    if (kind_ != loss::nothing) {
      for (const auto& entry : fs::recursive_directory_iterator(root_))
        if (entry.is_regular_file() && unflushed_files_.contains(inode_of(entry.path())))
          spoil(entry.path());
      // Journals lose the last operations first.
      auto kept = kind_ == loss::everything ? 0 : random_() % (renames_.size() + 1);
      while (renames_.size() > kept) {
        undo(renames_.back());
        renames_.pop_back();
      }
    }
    ::_exit(7);
  }

  void spoil(const fs::path& file) {
    auto content = read_file(file);
    if (kind_ == loss::everything)
      content.clear();
    for (std::size_t page = 0; page < content.size(); page += 4096)
      if (random_() % 2 == 0)
        content.replace(page, 4096, std::string(4096, '\0'));
    write_file(file, content);
  }

  /// Gives what was renamed its old name back, by whatever name it goes now.
  void undo(const renaming& done) {
    for (const auto& entry : fs::directory_iterator(done.from.parent_path())) {
      if (inode_of(entry.path()) != done.inode || entry.path() == done.from)
        continue;
      if (::renameat2(AT_FDCWD, entry.path().c_str(), AT_FDCWD, done.from.c_str(), RENAME_EXCHANGE) != 0)
        ::rename(entry.path().c_str(), done.from.c_str());
      return;
    }
  }

  fs::path root_;
  std::uint64_t remaining_;
  loss kind_;
  std::mt19937_64 random_;
  std::set<ino_t> unflushed_files_;  // whatever their names are by then
  std::vector<renaming> renames_;
};

/// Runs `work` in a process of its own; true where it came to its end.
template <class F>
bool survives(F work) {
  const auto child = ::fork();
  if (child == 0) {
    try {
      work();
    } catch (...) {
      ::_exit(9);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  REQUIRE((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 7));
  return WEXITSTATUS(status) == 0;
}

/// Lets the process die before every step in turn. `next` is the cut it writes; `old_shards` the size of cut 1.
void check_all_crashes(std::uint64_t next, std::uint32_t old_shards, loss kind, std::uint64_t seed) {
  const retention keep{.keep_count = 1};
  bool finished = false;
  std::uint64_t crash = 0;
  int old_found = 0;
  for (; !finished; ++crash) {
    scratch_folder folder;
    checkpoint_store store(folder.path(), {.keep = keep});
    write_cut(store, 1, old_shards);
    finished = survives([&] {
      power_failure failure(folder.path(), crash, kind, seed + crash);
      const auto hook = [&](write_step step, const fs::path& subject) { failure.before(step, subject); };
      checkpoint_store doomed(folder.path(), {.keep = keep, .hook = hook});
      write_cut(doomed, next, 2);
    });
    CAPTURE(crash);
    std::vector<std::string> warnings;
    const auto found = store.latest([&](const std::string& line) { warnings.push_back(line); });
    REQUIRE(found);
    const bool is_old = is_cut_of(*found, 1, old_shards);
    const bool is_new = is_cut_of(*found, next, 2);
    CHECK((is_old || is_new));
    CHECK((is_new || !finished));
    CHECK(warnings.empty());
    old_found += is_old && !is_new;

    // Life goes on.
    store.discard_unpublished();
    write_cut(store, next + 1, 2);
    CHECK(is_cut_of(*store.latest({}), next + 1, 2));
    CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
  }
  // Both outcomes were seen, or the crashes were not where they matter.
  CHECK(crash > 15);
  CHECK(old_found > 10);
  CHECK(old_found < static_cast<int>(crash) - 1);
}

}  // namespace

TEST_CASE("a crash at any step of writing leaves the old cut or the new one") {
  const std::uint64_t seed = 20260101;
  CAPTURE(seed);
  for (const std::uint64_t next : {2, 1})  // a new step; the same step again
    for (const auto kind : {loss::nothing, loss::everything, loss::something}) {
      CAPTURE(next);
      CAPTURE(static_cast<int>(kind));
      check_all_crashes(next, 3, kind, seed);
    }
}
