/// Cuts in memory: who holds which, and what becomes of a part that has gone bad where it was kept.

#include "actors/keeper.hpp"

#include <doctest/doctest.h>

#include "actors/checkpoint_writer.hpp"
#include "actors/job_root.hpp"
#include "actors/kept_cuts.hpp"
#include "actors/parameter_shard.hpp"
#include "tests/simulation/simulator.hpp"
#include "tests/simulation/tiny_job.hpp"

namespace troupe {

namespace {

/// Stands for coordinator and writer of a job with one shard, and keeps what it is told.
struct told {
  std::vector<shard_report> reports;
  std::vector<restore_failed> failures;
  std::vector<cut_kept> kept;
  std::vector<write_part> written;
};

caf::actor spawn_listener(caf::actor_system& system, const std::shared_ptr<told>& all) {
  return system.spawn([all](caf::event_based_actor*) -> caf::behavior {
    return {[all](const shard_report& x) { all->reports.push_back(x); },
            [all](const restore_failed& x) { all->failures.push_back(x); },
            [all](const cut_kept& x) { all->kept.push_back(x); }, [](const snapshot_taken&) {},
            [all](const write_part& x) { all->written.push_back(x); }};
  });
}

}  // namespace

TEST_CASE("the cut to return to is the newest that every shard holds or has kept") {
  kept_cuts held(2);
  CHECK(!held.newest_of_all());
  held.note_own(0, 6);
  held.note_kept(0, 3);
  held.note_kept(0, 6);
  held.note_kept(1, 3);
  CHECK(held.newest_of_all() == 3);
  held.note_own(1, 6);
  CHECK(held.newest_of_all() == 6);
  held.note_own(1, {});
  held.note_kept(1, 6);
  held.note_kept(1, 9);  // a keeper holds two
  CHECK(!held.is_kept(1, 3));
  CHECK(held.newest_of_all() == 6);
  held.forget_after(6);
  CHECK(held.newest_kept(1) == 6);
  held.forget_before(6);
  CHECK(!held.is_kept(0, 3));
  held.forget_keeper(1);
  CHECK(!held.newest_of_all());
}

TEST_CASE("a shard comes back from its keeper; a part that has gone bad there is recognised") {
  auto settings = tiny_settings(consistency_mode::sync, 1);
  const auto context = make_job_context(tiny_inputs(), settings);
  simulator sim{1};
  const auto all = std::make_shared<told>();
  const auto listener = spawn_listener(sim.system(), all);
  const auto keeper = spawn_keeper(sim.system(), context, 0, listener);
  const auto first = spawn_parameter_shard(sim.system(), context, 0, listener);
  caf::anon_send(first, restore_shard{1, restore_source::beginning, 0, {}, {}, {first}});
  sim.run_until([&] { return !all->reports.empty(); });
  caf::anon_send(first, meet_keeper{1, keeper, {}});
  caf::anon_send(first, take_snapshot{1, 0, listener});
  sim.run_until([] { return false; });
  REQUIRE(all->kept.size() == 1);
  CHECK(all->reports.back().held == std::nullopt);

  const auto second = spawn_parameter_shard(sim.system(), context, 0, listener);
  caf::anon_send(second, restore_shard{2, restore_source::neighbour, 0, {}, keeper, {second}});
  sim.run_until([] { return false; });
  REQUIRE(all->reports.size() == 2);
  CHECK(all->reports.back().epoch == 2);
  CHECK(all->reports.back().held == 0);

  caf::anon_send(second, restore_shard{3, restore_source::neighbour, 3, {}, keeper, {second}});
  sim.run_until([] { return false; });
  REQUIRE(all->failures.size() == 1);
  CHECK(all->failures.back().fault.find("is not kept any more where it was") != std::string::npos);

  // The very memory that the keeper holds.
  *all->written.front().part.tensors.front().value.mutable_bytes() ^= std::byte{1};
  caf::anon_send(second, restore_shard{4, restore_source::neighbour, 0, {}, keeper, {second}});
  sim.run_until([] { return false; });
  REQUIRE(all->failures.size() == 2);
  CHECK(all->failures.back().fault.find("is not what it was when it was kept") != std::string::npos);

  for (const auto& shard : {first, second})
    send_exit(shard, caf::exit_reason::kill);  // each knows itself among its peers, and would live for ever
}

}  // namespace troupe
