#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "models/data/corpus.hpp"
#include "models/data/utf8.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

/// The string under `field` of the object that `line` holds.
std::string text_of(std::string_view line, const std::string& field, const std::string& place) {
  nlohmann::json value;
  try {
    value = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& failure) {
    throw input_error(fmt::format("{}:{}: malformed JSON, expected one object on the line", place, failure.byte));
  }
  if (!value.is_object())
    throw input_error(fmt::format("{}: expected a JSON object, found {}", place, value.type_name()));
  const auto found = value.find(field);
  if (found == value.end())
    throw input_error(fmt::format("{}: no field '{}' in the object; set data.field to the one that holds the text",
                                  place, field));
  if (!found->is_string())
    throw input_error(fmt::format("{}: expected a string in field '{}', found {}", place, field, found->type_name()));
  return std::move(found->get_ref<std::string&>());
}

class json_lines final : public corpus {
 public:
  explicit json_lines(const data_settings& settings)
      : path_(settings.path), field_(settings.field), file_(mapped_file::open(settings.path)) {
    content_ = content_hash().add(field_).add(file_->text()).value();
  }

  void for_each_document(const visitor& visit) const override {
    const std::string_view bytes = file_->text();
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < bytes.size();) {
      const std::size_t end = std::min(bytes.find('\n', begin), bytes.size());
      const std::string_view line = bytes.substr(begin, end - begin);
      begin = end + 1;
      ++number;
      if (line.find_first_not_of(" \t\r") == std::string_view::npos)
        continue;
      const std::string place = fmt::format("{}:{}", path_, number);
      if (const std::string text = text_of(line, field_, place); !text.empty())
        visit(text, place);
    }
  }

  std::int64_t size_bytes() const noexcept override { return static_cast<std::int64_t>(file_->text().size()); }
  digest content() const noexcept override { return content_; }
  std::string summary() const override {
    return fmt::format("{}: {} bytes of JSON lines, text in field '{}'", path_, size_bytes(), field_);
  }

 private:
  std::string path_, field_;
  std::shared_ptr<const mapped_file> file_;
  digest content_;
};

}  // namespace

std::unique_ptr<corpus> open_json_lines(const data_settings& settings) {
  return std::make_unique<json_lines>(settings);
}

}  // namespace troupe
