#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "runtime/checkpoint/store.hpp"
#include "tests/files.hpp"
#include "tests/scratch_folder.hpp"

namespace checkpoint_test {

namespace fs = std::filesystem;

using troupe::read_file;
using troupe::scratch_folder;
using troupe::write_file;

/// A tensor of random bytes.
inline troupe::tensor random_tensor(troupe::dtype type, troupe::shape extents, std::mt19937_64& random) {
  auto value = troupe::make_host_tensor(type, extents);
  for (std::size_t i = 0; i < value.size_bytes(); ++i)
    value.mutable_bytes()[i] = static_cast<std::byte>(random());
  return value;
}

/// A shard's snapshot that is a function of (step, shard).
inline troupe::shard_snapshot make_part(std::uint64_t step, std::uint32_t shard) {
  std::mt19937_64 random(step * 1000 + shard);
  troupe::shard_snapshot part;
  part.shard = shard;
  part.version = step;
  part.applied = {{0, step, step}, {1, step, step}};
  part.tensors.push_back({fmt::format("weight.{}", shard), random_tensor(troupe::dtype::float32, {7, 33}, random)});
  part.tensors.push_back({fmt::format("bias.{}", shard), random_tensor(troupe::dtype::float32, {5}, random)});
  return part;
}

inline fs::path write_cut(troupe::checkpoint_store& store, std::uint64_t step, std::uint32_t shards) {
  for (std::uint32_t i = 0; i < shards; ++i)
    store.write_shard(step, make_part(step, i));
  troupe::cut_manifest about;
  about.step = step;
  about.shard_count = shards;
  about.documents["run"] = fmt::format("step {}", step);
  return store.publish(about);
}

inline bool same(const troupe::tensor& a, const troupe::tensor& b) {
  return a.type() == b.type() && a.shape() == b.shape() && std::memcmp(a.bytes(), b.bytes(), a.size_bytes()) == 0;
}

/// Whether the cut is the one that write_cut wrote.
inline bool is_cut_of(const troupe::cut& cut, std::uint64_t step, std::uint32_t shards) {
  bool good = cut.manifest.step == step && cut.shards.size() == shards && cut.manifest.shard_count == shards &&
              cut.manifest.documents.at("run") == fmt::format("step {}", step);
  for (std::uint32_t i = 0; good && i < shards; ++i) {
    const auto expected = make_part(step, i);
    good = cut.shards[i].version == step && cut.shards[i].tensors.size() == expected.tensors.size();
    for (std::size_t t = 0; good && t < expected.tensors.size(); ++t)
      good = cut.shards[i].tensors[t].name == expected.tensors[t].name &&
             same(cut.shards[i].tensors[t].value, expected.tensors[t].value);
  }
  return good;
}

}  // namespace checkpoint_test
