#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "runtime/checkpoint/fingerprint.hpp"
#include "runtime/error.hpp"
#include "tests/runtime/checkpoint/support.hpp"

using namespace troupe;
using namespace checkpoint_test;

TEST_CASE("a cut reads back as it was written") {
  scratch_folder folder;
  checkpoint_store store(folder.path() / "checkpoints", {});
  std::mt19937_64 random(7);
  shard_snapshot first{0, 41, {{0, 12, 12}, {3, 9, 9}}, {}};
  const std::vector<shape> shapes{{}, {1}, {0}, {3, 5}, {2, 3, 5, 7, 1, 2}, {100'003}};
  for (int type = 0; type < 8; ++type)
    for (const auto& extents : shapes)
      first.tensors.push_back({fmt::format("{}.{}", type, to_string(extents)),
                               random_tensor(static_cast<dtype>(type), extents, random)});
  shard_snapshot second{1, 42, {}, {{"large", random_tensor(dtype::float32, {3, 1 << 20}, random)}}};
  shard_snapshot third{2, 43, {}, {}};
  CHECK(store.write_shard(123, second) % 4096 == 0);
  store.write_shard(123, third);
  store.write_shard(123, first);

  cut_manifest about{123, 5, 3, "2026-01-02T03:04:05Z", {{"binary", std::string("a\0b\xff", 4)}, {"empty", ""}}};
  const auto directory = store.publish(about);
  CHECK(directory == store.directory() / "step-000000123");

  const auto read = read_cut(directory);
  CHECK(read.path == directory);
  CHECK(read.manifest.step == 123);
  CHECK(read.manifest.epoch == 5);
  CHECK(read.manifest.shard_count == 3);
  CHECK(read.manifest.created == about.created);
  CHECK(read.manifest.documents == about.documents);
  REQUIRE(read.shards.size() == 3);
  CHECK(read.shards[0].version == 41);
  REQUIRE(read.shards[0].applied.size() == 2);
  CHECK(read.shards[0].applied[1].lane == 3);
  CHECK(read.shards[0].applied[1].next_step == 9);
  CHECK(read.shards[0].applied[1].applied == 9);
  CHECK(read.shards[2].tensors.empty());
  for (const auto& [name, value] : first.tensors) {
    const auto found = read.find(name);
    REQUIRE(found);
    CHECK(same(found, value));
    CHECK(reinterpret_cast<std::uintptr_t>(found.bytes()) % 64 == 0);
  }
  CHECK(same(read.find("large"), second.tensors[0].value));
  CHECK_FALSE(read.find("absent"));
}

TEST_CASE("what is read outlives its file, and writing to it changes no file") {
  scratch_folder folder;
  checkpoint_store store(folder.path(), {});
  const auto directory = write_cut(store, 1, 1);
  auto weight = read_cut(directory).find("weight.0");
  const auto before = weight.data<float>()[0];
  weight.mutable_data<float>()[0] = 12345.0f;
  CHECK(std::memcmp(read_cut(directory).find("weight.0").bytes(), &before, sizeof(before)) == 0);
  fs::remove_all(directory);
  CHECK(weight.data<float>()[0] == 12345.0f);
}

TEST_CASE("shards may be written by many threads, in any order, and again") {
  scratch_folder folder;
  checkpoint_store store(folder.path(), {});
  {
    std::vector<std::jthread> writers;
    for (std::uint32_t i = 0; i < 12; ++i)
      writers.emplace_back([&store, i] { store.write_shard(9, make_part(i < 6 ? 9 : 8, i % 6)); });
  }
  CHECK(is_cut_of(read_cut(write_cut(store, 9, 6)), 9, 6));
  CHECK(std::distance(fs::directory_iterator(folder.path() / "step-000000009"), {}) == 7);
}

TEST_CASE("a cut is published only when all its shards were written") {
  scratch_folder folder;
  checkpoint_store store(folder.path(), {});
  store.write_shard(3, make_part(3, 0));
  CHECK_THROWS_WITH_AS(store.publish({3, 0, 2, "", {}}), doctest::Contains("shard-0001.bin"), input_error);
  CHECK(store.steps().empty());
  CHECK_FALSE(store.latest({}));
  store.discard_unpublished();
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a cut may be published again") {
  scratch_folder folder;
  checkpoint_store store(folder.path(), {});
  write_cut(store, 5, 3);
  const auto mapped = store.latest({});
  write_cut(store, 5, 2);
  CHECK(is_cut_of(*store.latest({}), 5, 2));
  CHECK(is_cut_of(*mapped, 5, 3));
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
}

TEST_CASE("retention keeps the newest, the young, and later steps") {
  scratch_folder folder;
  using steps = std::vector<std::uint64_t>;
  SUBCASE("by count") {
    checkpoint_store store(folder.path(), {.keep = {.keep_count = 2}});
    for (std::uint64_t step : {10, 20, 30, 40})
      write_cut(store, step, 1);
    CHECK(store.steps() == steps{30, 40});
    write_cut(store, 35, 1);
    CHECK(store.steps() == steps{30, 35, 40});
    write_cut(store, 36, 1);
    CHECK(store.steps() == steps{35, 36, 40});
  }
  SUBCASE("all") {
    checkpoint_store store(folder.path(), {.keep = {.keep_count = 0}});
    for (std::uint64_t step : {10, 20, 30, 40})
      write_cut(store, step, 1);
    CHECK(store.steps() == steps{10, 20, 30, 40});
  }
  SUBCASE("by age") {
    checkpoint_store store(folder.path(), {.keep = {.keep_count = 1, .keep_age = std::chrono::hours(1)}});
    for (std::uint64_t step : {10, 20, 30})
      write_cut(store, step, 1);
    CHECK(store.steps() == steps{10, 20, 30});
    const auto old = fs::file_time_type::clock::now() - std::chrono::hours(2);
    fs::last_write_time(folder.path() / "step-000000010", old);
    write_cut(store, 40, 1);
    CHECK(store.steps() == steps{20, 30, 40});
  }
}

TEST_CASE("only names that the store gives are cuts") {
  CHECK(step_of("x/step-000000012") == 12);
  CHECK(step_of("step-123456789012") == 123456789012);
  for (const auto* name : {"step-12", "step-000000012.bak", ".writing-step-000000012", "step-", "step--00000012",
                           "step-99999999999999999999999"})
    CHECK_FALSE(step_of(name));
}

TEST_CASE("a store that cannot write says what and why") {
  scratch_folder folder;
  write_file(folder.path() / "file", "not a folder");
  const checkpoint_store store(folder.path() / "file" / "inside", {});
  CHECK_THROWS_WITH_AS(store.make_ready(), doctest::Contains("cannot create"), system_error);
}

TEST_CASE("a fingerprint is of bytes in order, however they are cut into tensors") {
  CHECK(fingerprint({}) == "99aa06d3014798d86001c324468d497f");  // xxh3-128 of nothing
  std::mt19937_64 random(3);
  const auto whole = random_tensor(dtype::float32, {1000}, random);
  const std::vector<tensor> parts{whole.slice(0, {17}), whole.slice(17, {3, 100}), whole.slice(317, {683})};
  const std::vector<tensor> other{parts[1], parts[0], parts[2]};
  CHECK(fingerprint(std::span(&whole, 1)) == fingerprint(parts));
  CHECK(fingerprint(parts) != fingerprint(other));
}
