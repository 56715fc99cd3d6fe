#include "models/data/sentencepiece_check.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::size_t piece_bytes_max = 4096;

// Of sentencepiece_model.proto.
namespace model_field {
constexpr std::uint64_t pieces = 1, normalizer = 3, denormalizer = 5;
}
namespace piece_field {
constexpr std::uint64_t text = 1;
}
namespace normalizer_field {
constexpr std::uint64_t table = 2;  // "precompiled_charsmap"
}

[[noreturn]] void refuse(std::string_view why) {
  throw input_error(fmt::format("this is no sentencepiece model: {}", why));
}

/// The fields of a Protocol Buffers message, one after another.
class message_reader {
 public:
  explicit message_reader(std::string_view bytes) : rest_(bytes) {}

  /// False at the end. Afterwards `number` is the field's, and `bytes` its contents where it has a length.
  bool next() {
    if (rest_.empty())
      return false;
    const std::uint64_t tag = varint();
    number = tag >> 3;
    bytes = {};
    switch (tag & 7) {
      case 0:
        varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        bytes = take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        refuse("a field has an unknown wire type");
    }
    return true;
  }

  std::uint64_t number = 0;
  std::string_view bytes;

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= std::uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80)
        return value;
    }
    refuse("a number is too long");
  }

  std::string_view take(std::uint64_t size) {
    if (size > rest_.size())
      refuse("a field is cut short");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  std::string_view rest_;
};

void check_piece(std::string_view piece) {
  for (message_reader field(piece); field.next();) {
    if (field.number != piece_field::text)
      continue;
    if (field.bytes.empty())
      refuse("a piece is empty");
    if (field.bytes.size() > piece_bytes_max)
      refuse(fmt::format("a piece has {} bytes, expected at most {}", field.bytes.size(), piece_bytes_max));
    if (field.bytes.find('\0') != std::string_view::npos)
      refuse("a piece holds a zero byte");
  }
}

/// A table of replacements: the size of a trie (uint32), the trie as a double array in darts-clone's format, and
/// replacements that end in zeros, to which its leaves point. The library walks the trie by whatever the text holds.
class normalization_table {
 public:
  explicit normalization_table(std::string_view table) {
    std::uint32_t size;
    if (table.size() < sizeof size)
      refuse("a normalisation table is cut short");
    std::memcpy(&size, table.data(), sizeof size);
    table.remove_prefix(sizeof size);
    if (size > table.size() || size == 0 || size % sizeof(std::uint32_t) != 0)
      refuse("a normalisation table's trie does not fit into it");
    units_.resize(size / sizeof(std::uint32_t));
    std::memcpy(units_.data(), table.data(), size);
    replacements_ = table.substr(size);
  }

  void check() const {
    if (replacements_.empty() || replacements_.back() != '\0')
      refuse("a normalisation table's last replacement has no end");
    // Every node that some text can reach, found from the root.
    std::vector<bool> seen(units_.size());
    std::vector<std::size_t> open{0};
    seen[0] = true;
    while (!open.empty()) {
      const std::size_t at = open.back();
      open.pop_back();
      const std::size_t children = at ^ offset(units_[at]);
      if ((children | 0xFF) >= units_.size())
        refuse("a normalisation table points outside itself");
      if (has_leaf(units_[at]) && value(units_[children]) >= replacements_.size())
        refuse("a normalisation table points outside its replacements");
      for (std::size_t label = 1; label < 256; ++label) {
        const std::size_t child = children ^ label;
        if (matches(units_[child], label) && !seen[child]) {
          seen[child] = true;
          open.push_back(child);
        }
      }
    }
  }

 private:
  static bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
  static std::size_t value(std::uint32_t unit) { return unit & 0x7FFF'FFFF; }
  static bool matches(std::uint32_t unit, std::size_t label) { return (unit & 0x8000'00FF) == label; }
  static std::size_t offset(std::uint32_t unit) { return std::size_t{unit >> 10} << ((unit & 0x200) >> 6); }

  std::vector<std::uint32_t> units_;
  std::string_view replacements_;
};

void check_normalizer(std::string_view normalizer) {
  for (message_reader field(normalizer); field.next();)
    if (field.number == normalizer_field::table && !field.bytes.empty())
      normalization_table(field.bytes).check();
}

}  // namespace

void check_sentencepiece_model(std::string_view model) {
  for (message_reader field(model); field.next();) {
    if (field.number == model_field::pieces)
      check_piece(field.bytes);
    else if (field.number == model_field::normalizer || field.number == model_field::denormalizer)
      check_normalizer(field.bytes);
  }
}

}  // namespace troupe
