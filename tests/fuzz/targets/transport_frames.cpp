#include <stdexcept>

#include "runtime/transport/frame_reader.hpp"
#include "tests/fuzz/fuzz.hpp"

// What a peer that knows the secret sends after the handshake.

namespace {

using namespace troupe;

// Small, so that what a prefix announces is at hand or refused.
constexpr frame_limits limits{.envelope_bytes_max = 1 << 20, .tensor_bytes_max = 1 << 20};

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string frame_of(const parcel& message) {
  auto out = text_of(encode_head(message, limits));
  for (const auto& each : message.tensors)
    if (each)
      out += text_of({each.bytes(), each.size_bytes()});
  return out;
}

tensor filled(dtype type, shape extents) {
  auto out = make_host_tensor(type, extents);
  std::fill_n(out.mutable_bytes(), out.size_bytes(), std::byte{7});
  return out;
}

}  // namespace

std::vector<std::string> troupe::fuzz::seeds() {
  parcel message{{3, "shard/3", 2}, {0, "replica/0", 1}, "push", {std::byte{1}, std::byte{2}}, {}};
  const auto control = frame_of(message);
  message.tensors = {filled(dtype::float32, {5, 7}), {}, filled(dtype::int64, {}), filled(dtype::bfloat16, {3, 0, 2}),
                     filled(dtype::uint8, {1, 2, 1, 2, 1, 2})};
  const auto bulk = frame_of(message);
  message.device_link = 7;
  message.beside = {{1, {dtype::float32, {4, 2}}}};
  return {control, bulk, frame_of(message),
          control + text_of(encode_prefix({frame_kind::heartbeat, 0, 0})) + bulk + control +
              text_of(encode_prefix({frame_kind::goodbye, 0, 0}))};
}

void troupe::fuzz::read(std::string_view bytes) {
  const auto read_by = [&](std::size_t piece) {
    frame_reader reader(limits);
    std::string out;
    auto rest = std::as_bytes(std::span(bytes));
    while (!rest.empty()) {
      const auto size = std::min(piece, rest.size());
      reader.take(rest.first(size), [&](const parcel& each) {
        out += each.to.name + each.from.name + each.type + text_of(each.body);
        for (const auto& value : each.tensors)
          out += value ? describe(value) + text_of({value.bytes(), value.size_bytes()}) : "absent";
        return true;
      });
      rest = rest.subspan(size);
    }
    return out;
  };
  if (read_by(bytes.size() + 1) != read_by(13))
    throw std::logic_error("what is read depends on how the bytes are cut");
}
