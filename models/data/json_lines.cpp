#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "models/data/corpus.hpp"
#include "models/data/path_pattern.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

/// Picks one field out of an object as the parser goes by, so that nothing else is ever kept in memory.
class field_picker final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit field_picker(const std::string& field) : field_(field) {}

  /// The field's text; nothing where it is missing or something else.
  std::optional<std::string> text;
  const char* outermost = nullptr;  ///< what the whole value is
  const char* found = nullptr;      ///< what the field holds; null: there is none
  std::size_t failed_at = 0;        ///< byte of the line, from 1

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
    wanted_ = depth_ == 1 && name == field_;
    if (wanted_)
      text.reset();
    return true;
  }
  bool start_object(std::size_t) override { return open("an object"); }
  bool start_array(std::size_t) override { return open("an array"); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    failed_at = position;
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

  const std::string& field_;
  std::size_t depth_ = 0;
  bool wanted_ = false;  // the next value is the field's
};

/// The string under `field` of the object that `line` holds.
std::string text_of(std::string_view line, const std::string& field, const std::string& place) {
  field_picker picked(field);
  if (!nlohmann::json::sax_parse(line, &picked))
    throw input_error(
      fmt::format("{}:{}: malformed JSON, expected one object on the line", place, picked.failed_at));
  if (picked.outermost != std::string_view("an object"))
    throw input_error(fmt::format("{}: expected a JSON object, found {}", place, picked.outermost));
  if (!picked.found)
    throw input_error(fmt::format("{}: no field '{}' in the object; set data.field to the one that holds the text",
                                  place, field));
  if (!picked.text)
    throw input_error(fmt::format("{}: expected a string in field '{}', found {}", place, field, picked.found));
  return std::move(*picked.text);
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
        const std::string place = fmt::format("{}:{}", file.path, number);
        if (const std::string text = text_of(line, field_, place); !text.empty())
          visit(text, place);
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
