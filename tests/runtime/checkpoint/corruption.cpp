#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "runtime/checkpoint/format.hpp"
#include "runtime/checkpoint/sealed_file.hpp"
#include "runtime/error.hpp"
#include "tests/runtime/checkpoint/support.hpp"

using namespace troupe;
using namespace checkpoint_test;

namespace {

/// Two good cuts, 100 and 200, of which a test spoils the newer.
struct two_cuts {
  scratch_folder folder;
  checkpoint_store store{folder.path(), {}};
  fs::path older = write_cut(store, 100, 2);
  fs::path newer = write_cut(store, 200, 2);

  /// Whether the older cut is found and the newer one is complained about, with `fault` in the message.
  void check_fallback(const std::string& fault) const {
    std::vector<std::string> warnings;
    const auto found = store.latest([&](const std::string& line) { warnings.push_back(line); });
    REQUIRE(found);
    CHECK(is_cut_of(*found, 100, 2));
    REQUIRE(warnings.size() == 1);
    CAPTURE(warnings[0]);
    CHECK(warnings[0].find("step-000000200") != std::string::npos);
    CHECK(warnings[0].find(fault) != std::string::npos);
    CHECK(warnings[0].ends_with("; using step-000000100 instead"));
    CHECK(warnings[0].find('\n') == std::string::npos);
  }
};

std::vector<fs::path> files_of(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory))
    files.push_back(entry.path());
  return files;
}

}  // namespace

TEST_CASE("every flipped byte is noticed") {
  two_cuts cuts;
  std::mt19937_64 random(1);
  for (const auto& file : files_of(cuts.newer)) {
    const auto good = read_file(file);
    auto bad = good;
    for (std::size_t i = 0; i < good.size(); ++i) {
      bad[i] = static_cast<char>(good[i] ^ (1 << random() % 8));
      write_file(file, bad);
      INFO(file.filename().string(), ", byte ", i);
      CHECK_THROWS_AS(read_cut(cuts.newer), input_error);
      bad[i] = good[i];
    }
    write_file(file, good);
  }
  CHECK(is_cut_of(read_cut(cuts.newer), 200, 2));
}

TEST_CASE("every truncation is noticed") {
  two_cuts cuts;
  for (const auto& file : files_of(cuts.newer)) {
    const auto good = read_file(file);
    for (std::size_t size = 0; size < good.size(); size += size % 512 == 0 ? 1 : 511) {
      write_file(file, good.substr(0, size));
      INFO(file.filename().string(), " cut to ", size);
      CHECK_THROWS_AS(read_cut(cuts.newer), input_error);
    }
    write_file(file, good + good.substr(0, 4096));
    CHECK_THROWS_AS(read_cut(cuts.newer), input_error);
    write_file(file, good);
  }
}

TEST_CASE("a faulty cut is passed over, with a message") {
  two_cuts cuts;
  SUBCASE("no manifest") {
    fs::remove(cuts.newer / "manifest.bin");
    cuts.check_fallback("manifest.bin: cannot be read: No such file");
  }
  SUBCASE("no shard") {
    fs::remove(cuts.newer / "shard-0001.bin");
    cuts.check_fallback("shard-0001.bin: cannot be read: No such file");
  }
  SUBCASE("a truncated shard") {
    fs::resize_file(cuts.newer / "shard-0000.bin", 1000);
    cuts.check_fallback("shard-0000.bin: 1000 bytes");
  }
  SUBCASE("a shard of zeros") {
    write_file(cuts.newer / "shard-0000.bin", std::string(8192, '\0'));
    cuts.check_fallback("shard-0000.bin: does not end as a checkpoint file does");
  }
  SUBCASE("a flipped bit in a tensor") {
    auto bytes = read_file(cuts.newer / "shard-0001.bin");
    bytes[100] = static_cast<char>(bytes[100] ^ 4);
    write_file(cuts.newer / "shard-0001.bin", bytes);
    cuts.check_fallback("the checksum of tensor 'weight.1' is wrong");
  }
  SUBCASE("a shard of another cut") {
    fs::copy_file(cuts.older / "shard-0001.bin", cuts.newer / "shard-0001.bin", fs::copy_options::overwrite_existing);
    cuts.check_fallback("shard-0001.bin: is not the file that the manifest tells of");
  }
  SUBCASE("a manifest where a shard belongs") {
    fs::copy_file(cuts.newer / "manifest.bin", cuts.newer / "shard-0001.bin", fs::copy_options::overwrite_existing);
    cuts.check_fallback("a manifest where a shard was expected");
  }
  SUBCASE("another cut under its name") {
    fs::remove_all(cuts.newer);
    fs::copy(cuts.older, cuts.newer);
    cuts.check_fallback("manifest.bin: is of step 100, in a folder of step 200");
  }
  SUBCASE("an empty folder") {
    fs::remove_all(cuts.newer);
    fs::create_directory(cuts.newer);
    cuts.check_fallback("manifest.bin: cannot be read");
  }
  SUBCASE("a folder where a file belongs") {
    fs::remove(cuts.newer / "shard-0000.bin");
    fs::create_directory(cuts.newer / "shard-0000.bin");
    cuts.check_fallback("shard-0000.bin: cannot be read");
  }
}

TEST_CASE("where no good cut is left, the message says so") {
  two_cuts cuts;
  fs::remove(cuts.newer / "manifest.bin");
  fs::remove(cuts.older / "manifest.bin");
  std::vector<std::string> warnings;
  CHECK_FALSE(cuts.store.latest([&](const std::string& line) { warnings.push_back(line); }));
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0].find("no good checkpoint is left") != std::string::npos);
}

TEST_CASE("tables that lie with a good checksum are refused") {
  scratch_folder folder;
  const auto file = folder.path() / "shard-0000.bin";
  const tensor_entry good{"a", dtype::float32, {4}, 0, 16, {}};
  const auto refused = [&](std::vector<tensor_entry> tensors, std::uint64_t payload, const char* fault) {
    const auto message = encode(shard_message{0, 1, 1, {}, std::move(tensors)});
    CHECK_THROWS_WITH_AS(decode_shard(message, payload, file), doctest::Contains(fault), input_error);
  };
  CHECK(decode_shard(encode(shard_message{0, 1, 1, {}, {good}}), 64, file).tensors.size() == 1);

  constexpr auto huge = std::int64_t{1} << 62;
  refused({{"a", dtype::float32, {huge, 4}, 0, 0, {}}}, 64, "shape");
  refused({{"a", dtype::float32, {huge, 0, 4}, 0, 0, {}}}, 64, "shape");
  refused({{"a", dtype::float32, {-4}, 0, 16, {}}}, 64, "shape");
  refused({{"a", dtype::float32, {4}, 0, 17, {}}}, 64, "shape");
  refused({{"a", dtype::float32, {1 << 20}, 0, 4 << 20, {}}}, 64, "does not lie");
  refused({{"a", dtype::uint8, {(huge - 1) * 2 + 1}, 0, static_cast<std::uint64_t>(huge) * 2 - 1, {}}}, 64,
          "does not lie");
  refused({{"a", dtype::float32, {4}, 64, 16, {}}}, 128, "does not lie");
  refused({good, {"b", dtype::float32, {4}, 0, 16, {}}}, 128, "does not lie");
  refused({good, {"a", dtype::float32, {4}, 64, 16, {}}}, 128, "two tensors are named 'a'");
  refused({good}, 128, "tensors take 64 bytes of 128");
  refused({{"a", static_cast<dtype>(200), {4}, 0, 16, {}}}, 64, "unknown element type");

  auto bytes = encode(shard_message{0, 1, 1, {}, {good}});
  bytes.resize(bytes.size() / 16 * 8);
  CHECK_THROWS_WITH_AS(decode_shard(bytes, 64, file), doctest::Contains("malformed"), input_error);
  CHECK_THROWS_WITH_AS(decode_manifest({}, file), doctest::Contains("malformed"), input_error);
}
