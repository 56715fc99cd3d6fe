#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "models/data/corpus.hpp"
#include "models/data/path_pattern.hpp"
#include "models/data/utf8.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

/// Goes through a line and tells how far it came, which the parser does not.
class followed {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  followed(const char* at, const char*& reached) : at_(at), reached_(&reached) {}
  reference operator*() const { return *at_; }
  followed& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  bool operator==(const followed& other) const { return at_ == other.at_; }
  bool operator!=(const followed& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

/// Picks one field out of an object as the parser goes by, so that nothing else is ever kept in memory.
class field_picker final : public nlohmann::json_sax<nlohmann::json> {
 public:
  field_picker(std::string_view line, const std::string& field) : line_(line), field_(field) {}

  /// False: the line is no JSON from `failed_at` on.
  bool read() {
    return nlohmann::json::sax_parse(followed(line_.data(), reached_), followed(line_.data() + line_.size(), reached_), this);
  }

  /// The field's text; nothing where it is missing or something else.
  std::optional<std::string> text;
  const char* outermost = nullptr;  ///< what the whole value is
  const char* found = nullptr;      ///< what the field holds; null: there is none
  std::size_t value_at = 0;         ///< byte of the line where that begins
  std::vector<std::string> others;  ///< the first of the fields there are instead
  std::size_t failed_at = 0;

  bool null() override { return value("null"); }
  bool boolean(bool) override { return value("a boolean"); }
  bool number_integer(number_integer_t) override { return value("a number"); }
  bool number_unsigned(number_unsigned_t) override { return value("a number"); }
  bool number_float(number_float_t, const string_t&) override { return value("a number"); }
  bool binary(binary_t&) override { return value("bytes"); }
  bool string(string_t& contents) override {
    if (wanted_)
      text = std::move(contents);
    return value("a string");
  }
  bool key(string_t& name) override {
    constexpr std::size_t others_max = 8, bytes_max = 40;
    wanted_ = depth_ == 1 && name == field_;
    if (wanted_) {
      text.reset();
      value_at = std::min(line_.find_first_not_of(" \t\r\n:", static_cast<std::size_t>(reached_ - line_.data())), line_.size());
    } else if (depth_ == 1 && others.size() < others_max && name.size() <= bytes_max) {
      others.push_back(name);
    }
    return true;
  }
  bool start_object(std::size_t) override { return open("an object"); }
  bool start_array(std::size_t) override { return open("an array"); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    failed_at = position - 1;
    return false;
  }

 private:
  bool value(const char* kind) {
    if (depth_ == 0)
      outermost = kind;
    if (wanted_)
      found = kind;
    wanted_ = false;
    return true;
  }
  bool open(const char* kind) {
    value(kind);
    ++depth_;
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }

  const std::string_view line_;
  const std::string& field_;
  const char* reached_ = line_.data();  // where the parser reads next
  std::size_t depth_ = 0;
  bool wanted_ = false;  // the next value is the field's
};

/// The byte of a JSON string, from its opening quotation mark on, that stands for byte `at` of what it says. REQUIRES:
/// the string is valid, and what it says is longer.
std::size_t raw_offset(std::string_view string, std::size_t at) {
  const auto unit = [&](std::size_t digits) {
    return static_cast<char32_t>(std::stoul(std::string(string.substr(digits, 4)), nullptr, 16));
  };
  std::size_t raw = 1;
  for (std::size_t said = 0; said < at;) {
    std::size_t raw_bytes = 1, said_bytes = 1;
    if (string[raw] == '\\') {
      raw_bytes = 2;
      if (string[raw + 1] == 'u') {
        const auto value = unit(raw + 2);
        const bool is_pair = value >= 0xD800 && value < 0xDC00;  // with the escape that follows
        raw_bytes = is_pair ? 12 : 6;
        said_bytes = is_pair ? 4 : value < 0x80 ? 1 : value < 0x800 ? 2 : 3;
      }
    }
    said += said_bytes;
    if (said > at)
      break;
    raw += raw_bytes;
  }
  return raw;
}

/// One line, and where it stands.
struct source_line {
  const std::string& path;
  std::size_t number;
  std::string_view text;

  std::string place(std::size_t at) const {
    return fmt::format("{}:{}:{}", path, number, utf8::position_of(text, at).column);
  }
  [[noreturn]] void refuse(std::size_t at, const std::string& message) const {
    throw input_error(fmt::format("{}: {}", place(at), message));
  }
};

/// The object that the line holds, with a string under `field`.
field_picker read(const source_line& line, const std::string& field) {
  field_picker picked(line.text, field);
  const auto begin = line.text.find_first_not_of(" \t\r");
  if (!picked.read()) {
    if (const auto bad = utf8::first_invalid(line.text); bad < line.text.size())
      line.refuse(bad, fmt::format("found the byte 0x{:02X}, expected UTF-8\nhelp: JSON is always UTF-8: convert the file, as "
                                   "`iconv` does",
                                   static_cast<unsigned char>(line.text[bad])));
    line.refuse(picked.failed_at, "malformed JSON, expected one object on the line");
  }
  if (picked.outermost != std::string_view("an object"))
    line.refuse(begin, fmt::format("expected a JSON object, found {}", picked.outermost));
  if (!picked.found)
    line.refuse(begin, fmt::format("no field '{}' in the object, which has {}\nhelp: set data.field to the one that holds the "
                                   "text",
                                   field,
                                   picked.others.empty() ? "none with a short name"
                                                         : fmt::format("'{}'", fmt::join(picked.others, "', '"))));
  if (!picked.text)
    line.refuse(picked.value_at, fmt::format("expected a string in field '{}', found {}", field, picked.found));
  return picked;
}

class json_lines final : public corpus {
 public:
  explicit json_lines(const data_settings& settings) : path_(settings.path), field_(settings.field) {
    content_hash hash;
    hash.add(field_);
    for (const std::string& path : matching_files(path_, "*.jsonl")) {
      files_.push_back({path, mapped_file::open(path)});
      hash.add(files_.back().contents->text());
      size_bytes_ += static_cast<std::int64_t>(files_.back().contents->size_bytes());
    }
    if (files_.empty())
      throw input_error(fmt::format("{}: no files of JSON lines; give a file, a folder with .jsonl files, or a pattern "
                                    "such as 'data/*.jsonl'",
                                    path_));
    content_ = hash.value();
  }

  void for_each_document(const visitor& visit) const override {
    for (const named_file& file : files_) {
      std::string_view rest = file.contents->text();
      for (std::size_t number = 1; !rest.empty(); ++number) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        if (line.find_first_not_of(" \t\r") == std::string_view::npos)
          continue;
        const source_line source{file.path, number, line};
        const auto picked = read(source, field_);
        if (!picked.text->empty())
          visit(*picked.text, [&](std::size_t at) {
            return source.place(picked.value_at + raw_offset(line.substr(picked.value_at), at));
          });
      }
    }
  }

  std::int64_t size_bytes() const noexcept override { return size_bytes_; }
  digest content() const noexcept override { return content_; }
  std::string summary() const override {
    return fmt::format("{}: {} bytes of JSON lines in {} files, text in field '{}'", path_, size_bytes_, files_.size(),
                       field_);
  }

 private:
  struct named_file {
    std::string path;
    std::shared_ptr<const mapped_file> contents;
  };

  std::string path_, field_;
  std::vector<named_file> files_;
  std::int64_t size_bytes_ = 0;
  digest content_;
};

}  // namespace

std::unique_ptr<corpus> open_json_lines(const data_settings& settings) {
  return std::make_unique<json_lines>(settings);
}

}  // namespace troupe
