#include "runtime/transport/frame.hpp"

#include <stdexcept>

#include <doctest/doctest.h>

#include "runtime/transport/frame_reader.hpp"
#include "tests/runtime/transport/support.hpp"
#include "tests/seeds.hpp"

using namespace troupe;

namespace {

std::vector<std::byte> bytes_of(const parcel& message) {
  auto out = encode_head(message, {});
  for (const auto& each : message.tensors)
    if (each)
      out.insert(out.end(), each.bytes(), each.bytes() + each.size_bytes());
  return out;
}

void check_refused(std::vector<std::byte> bytes, const frame_limits& limits = {}) {
  frame_reader reader(limits);
  CHECK_THROWS_AS(reader.take(bytes, [](const parcel&) { return true; }), input_error);
}

}  // namespace

TEST_CASE("parcels come out of the reader as they went in, however the bytes are cut") {
  for_each_seed(20, [](std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<parcel> sent;
    std::vector<std::byte> bytes;
    for (std::uint64_t i = 0; i < 20; ++i) {
      sent.push_back(make_parcel(seed * 100 + i, 0xff));
      const auto frame = bytes_of(sent.back());
      bytes.insert(bytes.end(), frame.begin(), frame.end());
      const auto heartbeat = encode_prefix({frame_kind::heartbeat, 0, 0});
      if (random() % 3 == 0)
        bytes.insert(bytes.end(), heartbeat.begin(), heartbeat.end());
    }
    frame_reader reader({});
    std::vector<parcel> received;
    std::span<const std::byte> rest(bytes);
    while (!rest.empty()) {
      const auto size = std::min<std::size_t>(rest.size(), 1 + random() % (random() % 2 == 0 ? 30 : 100'000));
      CHECK(reader.take(rest.first(size), [&](parcel message) {
        received.push_back(std::move(message));
        return true;
      }));
      rest = rest.subspan(size);
    }
    REQUIRE(received.size() == sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i)
      CHECK(same(sent[i], received[i]));
    CHECK(!reader.said_goodbye());
  });
}

TEST_CASE("a reader stops where its user does, and hears a goodbye") {
  auto bytes = bytes_of(note("one"));
  const auto two = bytes_of(note("two"));
  bytes.insert(bytes.end(), two.begin(), two.end());
  int count = 0;
  frame_reader stopped({});
  CHECK(!stopped.take(bytes, [&](const parcel&) { return ++count, false; }));
  CHECK(count == 1);

  frame_reader reader({});
  reader.take(encode_prefix({frame_kind::goodbye, 0, 0}), [](const parcel&) { return true; });
  CHECK(reader.said_goodbye());
}

TEST_CASE("what is no frame is refused before memory is spent on it") {
  const auto good = bytes_of(with_floats(10));
  const auto with = [&](std::size_t offset, std::uint64_t value, std::size_t size) {
    auto out = good;
    std::memcpy(&out[offset], &value, size);
    return out;
  };
  check_refused(with(0, 0, 4));                         // magic
  check_refused(with(4, 17, 4));                        // kind
  check_refused(with(4, 2, 4));                         // a heartbeat with content
  check_refused(with(8, std::uint64_t{1} << 40, 8));    // envelope
  check_refused(with(8, 7, 8));                         // envelope of half a word
  check_refused(with(16, ~std::uint64_t{0}, 8));        // payload
  check_refused(with(16, 44, 8));                       // payload that is not the tensors'
  auto linkless = note("tensors by a device link that it does not name");
  linkless.tensors.resize(1);
  linkless.beside = {{0, {dtype::float32, {4}}}};
  check_refused(bytes_of(linkless));
  auto pointless = note("a device link without tensors");
  pointless.device_link = 3;
  check_refused(bytes_of(pointless));
  check_refused(good, {.tensor_bytes_max = 39});
  auto beside = with_floats(10);
  beside.device_link = 3;
  beside.tensors.resize(2);
  beside.beside = {{1, {dtype::float32, {5, 2}}}};
  frame_reader enough({.tensor_bytes_max = 80});
  CHECK(enough.take(bytes_of(beside), [](const parcel& each) { return each.beside.size() == 1; }));
  check_refused(bytes_of(beside), {.tensor_bytes_max = 79});
  beside.beside = {{1, {dtype::float32, {5, 0}}}};
  check_refused(bytes_of(beside));
  check_refused(good, {.envelope_bytes_max = 16});
}

TEST_CASE("what exceeds the limits is not sent either") {
  const frame_limits limits{.envelope_bytes_max = 1000, .tensor_bytes_max = 1000};
  CHECK_NOTHROW(encode_head(with_floats(250), limits));
  CHECK_THROWS_AS(encode_head(with_floats(251), limits), std::length_error);
  auto beside = note("by a device link");
  beside.device_link = 3;
  beside.tensors.resize(1);
  beside.beside = {{0, {dtype::float32, {250}}}};
  CHECK_NOTHROW(encode_head(beside, limits));
  beside.beside = {{0, {dtype::float32, {251}}}};
  CHECK_THROWS_AS(encode_head(beside, limits), std::length_error);
  auto message = note("long");
  message.body.resize(1000);
  CHECK_THROWS_AS(encode_head(message, limits), std::length_error);
  message = note("many");
  message.tensors.resize(tensors_max + 1);
  CHECK_THROWS_AS(encode_head(message, {}), std::length_error);
}

TEST_CASE("extents that multiply beyond numbers are refused") {
  // Announced by an envelope alone: no sender has such a tensor.
  auto message = note("huge");
  const auto real = make_host_tensor(dtype::float64, {1, 1, 1});
  message.tensors.push_back(real);
  auto bytes = encode_head(message, {});
  int replaced = 0;
  for (std::size_t at = frame_prefix_bytes; at + 24 <= bytes.size(); at += 8) {
    const std::int64_t ones[] = {1, 1, 1}, huge[] = {std::int64_t{1} << 40, std::int64_t{1} << 40, 0};
    if (std::memcmp(&bytes[at], ones, sizeof(ones)) == 0) {
      std::memcpy(&bytes[at], huge, sizeof(huge));
      ++replaced;
    }
  }
  REQUIRE(replaced == 1);
  check_refused(bytes);
}
