/// What outlives a head: its journal on disk, and the parts of cuts that nodes keep.

#include "actors/job_journal.hpp"

#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "actors/surviving_cuts.hpp"
#include "tests/scratch_folder.hpp"

namespace troupe {

namespace {

struct opened {
  explicit opened(const scratch_folder& folder, bool resume = true)
      : journal(folder.path() / "journal.bin", resume, false, [this](const std::string& text) { warnings.push_back(text); }) {}

  std::vector<std::string> warnings;
  job_journal journal;
};

held_part part_of(const cut_id& cut) { return hold(cut, {}); }

}  // namespace

TEST_CASE("a journal hands over the run's name, its epochs and the cut in memory") {
  const scratch_folder folder;
  opened first(folder, false);
  CHECK(!first.journal.in_memory());
  CHECK(first.journal.begin_epoch(0) == 1);
  first.journal.note_cut({1, 3});
  first.journal.note_cut({1, 6});
  CHECK(first.journal.begin_epoch(6) == 2);  // a cut that the job goes back to stays

  opened second(folder);
  CHECK(second.warnings.empty());
  CHECK(second.journal.run() == first.journal.run());
  CHECK(second.journal.in_memory() == cut_id{1, 6});
  CHECK(second.journal.begin_epoch(3) == 3);
  CHECK(!second.journal.in_memory());  // it is of a past that the job went back from

  opened another(folder, false);
  CHECK(another.journal.run() != first.journal.run());
}

TEST_CASE("whoever was taken over for finds out, and writes nothing any more") {
  const scratch_folder folder;
  opened first(folder, false);
  CHECK(first.journal.is_ours());
  opened second(folder);
  CHECK(!first.journal.is_ours());
  first.journal.note_cut({1, 9});
  CHECK(second.journal.is_ours());
  CHECK(!opened(folder).journal.in_memory());
}

TEST_CASE("a journal that is torn or damaged is told, and the run gets another name") {
  const scratch_folder folder;
  const auto file = folder.path() / "journal.bin";
  std::string name;
  {
    opened first(folder, false);
    first.journal.note_cut({1, 6});
    name = first.journal.run();
  }
  SUBCASE("torn") { std::filesystem::resize_file(file, 100); }
  SUBCASE("empty") { std::filesystem::resize_file(file, 0); }
  SUBCASE("damaged") {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(33);
    bytes.put('\x7f');
  }
  opened second(folder);
  REQUIRE(second.warnings.size() == 1);
  CHECK(second.warnings.front().starts_with(file.string() + ": "));
  CHECK(second.journal.run() != name);
  CHECK(!second.journal.in_memory());
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("what a process keeps is of one run, of the cut that is asked for, and bounded") {
  surviving_cuts kept;
  kept.serve({"a run", {}});
  kept.leave(0, part_of({1, 3}));
  kept.leave(0, part_of({1, 6}));
  kept.leave(0, part_of({2, 6}));
  kept.leave(4, part_of({2, 6}));
  CHECK(!kept.find(0, 3));  // two of each shard
  kept.serve({"a run", cut_id{1, 6}});
  CHECK(kept.shards() == std::vector<std::uint32_t>{0});
  REQUIRE(kept.find(0, 6));
  CHECK(kept.find(0, 6)->cut == cut_id{1, 6});
  kept.serve({"another run", cut_id{1, 6}});
  CHECK(kept.shards().empty());
}

}  // namespace troupe
