#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "models/formats/safetensors.hpp"
#include "runtime/error.hpp"
#include "tests/models/formats/support.hpp"

using namespace troupe;
using namespace formats_test;

namespace {

/// A file with such a header and so many bytes of data.
std::string file_of(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + header + std::string(data_bytes, '\x2a');
}

}  // namespace

TEST_CASE("tensors come back as they were written") {
  scratch_folder folder;
  const auto file = folder.path() / "model.safetensors";
  std::mt19937_64 random(5);
  std::vector<named_tensor> tensors;
  for (int type = 0; type < 8; ++type)
    for (const auto& extents : {shape{}, shape{0, 3}, shape{3}, shape{2, 3, 5}}) {
      auto value = make_host_tensor(static_cast<dtype>(type), extents);
      for (std::size_t i = 0; i < value.size_bytes(); ++i)
        value.mutable_bytes()[i] = static_cast<std::byte>(random());
      tensors.push_back({"tensor \"" + describe(value) + "\"", value});
    }
  write_safetensors(file, tensors, {{"format", "pt"}, {"note", "a \"quoted\"\nline"}});
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);

  const auto read = read_safetensors(file);
  CHECK(read.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"note", "a \"quoted\"\nline"}});
  CHECK(read.unreadable.empty());
  REQUIRE(read.tensors.size() == tensors.size());
  for (const auto& expected : tensors) {
    const auto found = std::find_if(read.tensors.begin(), read.tensors.end(),
                                    [&](const auto& each) { return each.name == expected.name; });
    REQUIRE(found != read.tensors.end());
    CHECK(same(found->value, expected.value));
    CHECK(reinterpret_cast<std::uintptr_t>(found->value.bytes()) % size_bytes(found->value.type()) == 0);
  }
  write_safetensors(file, {}, {});
  CHECK(read_safetensors(file).tensors.empty());
}

TEST_CASE("a header of any length is read, whatever the alignment of the tensors") {
  scratch_folder folder;
  const auto file = folder.path() / "f";
  for (int pad = 0; pad < 9; ++pad) {
    const std::string tensor = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
    write_file(file, file_of(tensor + std::string(pad, ' ') + "}", 8));
    const auto read = read_safetensors(file);
    REQUIRE(read.tensors.size() == 1);
    CHECK(reinterpret_cast<std::uintptr_t>(read.tensors[0].value.bytes()) % 4 == 0);
    CHECK(std::memcmp(read.tensors[0].value.bytes(), "********", 8) == 0);
  }
}

TEST_CASE("tensors of types we have none for are named and left out") {
  scratch_folder folder;
  write_file(folder.path() / "f",
             file_of(R"({"mask":{"dtype":"BOOL","shape":[1,1,2,1,1,1,1],"data_offsets":[0,2]},
                         "a":{"dtype":"U8","shape":[],"data_offsets":[2,3]}})", 3));
  const auto read = read_safetensors(folder.path() / "f");
  CHECK(read.unreadable == std::vector<std::string>{"mask"});
  REQUIRE(read.tensors.size() == 1);
  CHECK(read.tensors[0].name == "a");
}

TEST_CASE("what the format forbids is refused") {
  scratch_folder folder;
  const auto file = folder.path() / "f";
  const auto refused = [&](const std::string& content, const char* fault) {
    write_file(file, content);
    CAPTURE(std::string(fault));
    CHECK_THROWS_WITH_AS(read_safetensors(file), doctest::Contains(fault), input_error);
  };
  const auto entry = [](const std::string& type, const std::string& extents, const std::string& offsets) {
    return R"({"dtype":")" + type + R"(","shape":)" + extents + R"(,"data_offsets":)" + offsets + "}";
  };
  const auto one = [&](const std::string& type, const std::string& extents, const std::string& offsets) {
    return R"({"a":)" + entry(type, extents, offsets) + "}";
  };
  refused("", "0 bytes are too few");
  refused("1234567", "7 bytes are too few");
  refused(file_of("{}", 0).substr(0, 9), "a header of 2 bytes in a file of 9");
  refused(std::string(16, '\xff'), "a header of");
  refused(file_of("", 0), "is no JSON");
  refused(file_of("{", 0), "is no JSON");
  refused(file_of("[]", 0), "expected an object");
  refused(file_of("{}", 1), "1 bytes follow the last tensor");
  refused(file_of(std::string(1 << 16, '['), 0), "nested more than 16 deep");
  refused(file_of("{\"a\":" + std::string(1 << 16, '['), 0), "nested more than 16 deep");
  refused(file_of("{\"a\":{\"b\xff\":1}}", 0), "is no JSON");
  refused(file_of(R"({"a":1})", 0), "is no object");
  refused(file_of(R"({"a":{}})", 0), "has no 'dtype'");
  refused(file_of(R"({"a":{"dtype":7}})", 0), "'dtype': found 7, expected text");
  refused(file_of(R"({"a":{"dtype":"F32"}})", 0), "has no array 'data_offsets'");
  refused(file_of(one("F32", "[1]", "[0]"), 4), "no begin and end");
  refused(file_of(one("F32", "[1]", "[4,0]"), 4), "no begin and end");
  refused(file_of(one("F32", "[1]", "[0,-4]"), 4), "something else than whole numbers");
  refused(file_of(one("F32", "[-1]", "[0,4]"), 4), "something else than whole numbers");
  refused(file_of(one("F32", "[1.0]", "[0,4]"), 4), "something else than whole numbers");
  refused(file_of(one("F32", "[2]", "[0,4]"), 4), "do not go with its shape");
  refused(file_of(one("F32", "[4611686018427387905]", "[0,4]"), 4), "do not go with its shape");
  refused(file_of(one("U8", "[18446744073709551615,0]", "[0,0]"), 0), "do not go with its shape");
  refused(file_of(one("F32", "[1,1,1,1,1,1,1]", "[0,4]"), 4), "7 dimensions");
  refused(file_of(one("F32", "[2]", "[0,8]"), 4), "truncated");
  refused(file_of(one("F32", "[1]", "[4,8]"), 8), "begins at byte 4");
  refused(file_of("{\"a\":" + entry("F32", "[1]", "[0,4]") + ",\"a\":" + entry("F32", "[1]", "[4,8]") + "}", 8),
          "'a' comes twice");
  refused(file_of("{\"a\":" + entry("F32", "[1]", "[0,4]") + ",\"b\":" + entry("F32", "[1]", "[0,4]") + "}", 4),
          "tensor 'b' begins at byte 0");
  refused(file_of(R"({"__metadata__":{"a":1}})", 0), "is no text");
  refused(file_of(R"({"__metadata__":1})", 0), "is no object");
  CHECK_THROWS_AS(read_safetensors(folder.path()), input_error);
  CHECK_THROWS_AS(read_safetensors(folder.path() / "absent"), input_error);
}
