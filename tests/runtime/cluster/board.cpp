#include "runtime/cluster/board.hpp"

#include <array>
#include <set>

#include <doctest/doctest.h>

namespace troupe {

TEST_CASE("board: who has lost its home gets one, and who lives on a node that leaves stays until all are asked to move") {
  cluster_board board({{1000, 1000, 1000}, std::vector<compute_demand>(3), {}, {}});
  for (int i = 0; i < 3; ++i)
    board.set_state(board.add({}), node_state::ready);
  const auto before = std::array{board.home_of_shard(0), board.home_of_shard(1), board.home_of_shard(2)};
  REQUIRE(std::set(before.begin(), before.end()).size() == 3);
  board.set_state(before[0], node_state::leaving);
  board.remove(before[1], "lost");
  const auto next = board.home_of_shard(1);
  CHECK(next == before[2]);
  CHECK(board.homes().shards[0] == before[0]);
  CHECK(!board.is_empty(before[0]));
  // That of the leaving node dies, too, before it was asked to move: nothing is left to ask.
  CHECK(board.home_of_shard(0) == before[2]);

  SUBCASE("at a cut") {
    const auto moves = board.rebalance();
    CHECK(moves.lanes.size() > 0);
    CHECK(board.is_empty(before[0]));
  }
}

}  // namespace troupe
