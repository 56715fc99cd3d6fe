#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "models/data/corpus.hpp"
#include "models/data/path_pattern.hpp"
#include "models/data/utf8.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

namespace fs = std::filesystem;

bool is_text(std::string_view bytes) {
  return bytes.find('\0') == std::string_view::npos && utf8::first_invalid(bytes) == bytes.size();
}

class folder final : public corpus {
 public:
  explicit folder(const data_settings& settings) : path_(settings.path) {
    list(settings);
    std::sort(files_.begin(), files_.end());
    survey();
    if (files_.empty())
      throw input_error(fmt::format("{}: no text in this folder: {}", path_, left_out()));
  }

  void for_each_document(const visitor& visit) const override {
    for (const std::string& path : files_) {
      const auto file = mapped_file::open(path);
      visit(file->text(), places_in(path, file->text()));
    }
  }

  std::string warning() const override {
    return unreadable_ == 0 ? std::string{}
                            : fmt::format("{}: {} file{} left out that cannot be read, the first: {}", path_, unreadable_,
                                          unreadable_ == 1 ? " is" : "s are", first_unreadable_);
  }

  std::int64_t size_bytes() const noexcept override { return size_bytes_; }
  digest content() const noexcept override { return content_; }

  std::string summary() const override {
    return fmt::format("{}: {} files, {} bytes of text; {}", path_, files_.size(), size_bytes_, left_out());
  }

 private:
  void list(const data_settings& settings) {
    std::error_code failure;
    fs::recursive_directory_iterator at(path_, fs::directory_options::skip_permission_denied, failure), end;
    for (; !failure && at != end; at.increment(failure)) {
      const std::string name = at->path().filename().string();
      if (name.starts_with('.')) {
        at.disable_recursion_pending();
        continue;
      }
      std::error_code vanished;  // or a link that leads nowhere
      if (!at->is_regular_file(vanished))
        continue;
      const auto size = at->file_size(vanished);
      if (vanished)
        continue;
      if (!matches_any(settings.glob, name))
        ++other_names_;
      else if (size > static_cast<std::uintmax_t>(settings.file_bytes_max))
        ++too_large_;
      else if (size > 0)
        files_.push_back(at->path().string());
    }
    if (failure)
      throw system_error(fmt::format("{}: cannot list the folder: {}", path_, failure.message()));
  }

  /// Keeps the files that are text, and adds up what they hold.
  void survey() {
    content_hash hash;
    std::erase_if(files_, [&](const std::string& path) {
      std::shared_ptr<const mapped_file> file;
      try {
        file = mapped_file::open(path);
      } catch (const input_error& fault) {
        if (unreadable_++ == 0)
          first_unreadable_ = fault.what();
        return true;
      }
      if (!is_text(file->text())) {
        ++not_text_;
        return true;
      }
      hash.add(file->text());
      size_bytes_ += static_cast<std::int64_t>(file->text().size());
      return false;
    });
    content_ = hash.value();
  }

  std::string left_out() const {
    auto text =
      fmt::format("left out: {} no UTF-8 text, {} too large, {} by name", not_text_, too_large_, other_names_);
    if (unreadable_ > 0)
      text += fmt::format(", {} that cannot be read, such as {}", unreadable_, first_unreadable_);
    return text;
  }

  std::string path_;
  std::vector<std::string> files_;
  std::int64_t size_bytes_ = 0;
  digest content_;
  std::size_t not_text_ = 0, too_large_ = 0, other_names_ = 0, unreadable_ = 0;
  std::string first_unreadable_;
};

}  // namespace

std::unique_ptr<corpus> open_folder(const data_settings& settings) {
  return std::make_unique<folder>(settings);
}

}  // namespace troupe
