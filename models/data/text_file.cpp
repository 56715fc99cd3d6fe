#include <fmt/format.h>

#include "models/data/corpus.hpp"
#include "models/data/utf8.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

class text_file final : public corpus {
 public:
  explicit text_file(const std::string& path) : path_(path), file_(mapped_file::open(path)) {
    if (file_->text().empty())
      throw input_error(fmt::format("{}: the file is empty, expected text", path));
    content_ = content_hash().add(file_->text()).value();
  }

  void for_each_document(const visitor& visit) const override {
    visit(file_->text(), places_in(path_, file_->text()));
  }
  std::int64_t size_bytes() const noexcept override { return static_cast<std::int64_t>(file_->text().size()); }
  digest content() const noexcept override { return content_; }
  std::string summary() const override { return fmt::format("{}: {} bytes of text", path_, size_bytes()); }

 private:
  std::string path_;
  std::shared_ptr<const mapped_file> file_;
  digest content_;
};

}  // namespace

corpus::locator places_in(const std::string& path, std::string_view text) {
  return [&path, text](std::size_t at) {
    const auto where = utf8::position_of(text, at);
    return fmt::format("{}:{}:{}", path, where.line, where.column);
  };
}

std::unique_ptr<corpus> open_text_file(const std::string& path) {
  return std::make_unique<text_file>(path);
}

}  // namespace troupe
