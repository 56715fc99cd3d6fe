#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "models/data/content_hash.hpp"
#include "models/data/dataset.hpp"

namespace troupe {

/// Text as documents in a fixed order. Immutable; thread safe.
class corpus {
 public:
  virtual ~corpus() = default;

  /// For messages: where in its file byte `at` of a document stands, "corpus.txt:2:7". Lines and columns count from 1,
  /// columns in code points.
  using locator = std::function<std::string(std::size_t at)>;
  /// A document's text, and where it stands.
  using visitor = std::function<void(std::string_view text, const locator& where)>;
  virtual void for_each_document(const visitor& visit) const = 0;

  /// Of the sources; what the documents' sizes add up to is about that.
  virtual std::int64_t size_bytes() const noexcept = 0;
  /// Names the documents and their boundaries, wherever they stand.
  virtual digest content() const noexcept = 0;
  /// One line on what was found and what was left out.
  virtual std::string summary() const = 0;
  /// Of what is missing that somebody may have counted on; empty: nothing.
  virtual std::string warning() const { return {}; }
};

/// Where the bytes of a document stand that is a whole file.
corpus::locator places_in(const std::string& path, std::string_view text);

/// One file, one document.
std::unique_ptr<corpus> open_text_file(const std::string& path);

/// The files below a folder, in order of their paths, each a document. Left out: what `settings.glob` does not match
/// (patterns separated by commas, of file names), what is larger than `settings.file_bytes_max`, what is empty or no
/// UTF-8 text, names that begin with a dot, and, with a warning, what cannot be read; links to folders are not followed.
std::unique_ptr<corpus> open_folder(const data_settings& settings);

/// Files of one JSON object per line (a file, the .jsonl files in a folder, or a pattern); `settings.field` of each is
/// a document. Empty lines are skipped. A malformed line is reported when its document is visited.
std::unique_ptr<corpus> open_json_lines(const data_settings& settings);

}  // namespace troupe
