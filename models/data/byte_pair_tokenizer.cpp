#include "models/data/byte_pair_tokenizer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>
#include <vector>

#include "models/data/byte_level.hpp"
#include "models/data/byte_pair_merges.hpp"
#include "models/data/utf8.hpp"
#include "models/data/word_pattern.hpp"
#include "models/json_file.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

using nlohmann::json;

// GPT-2's, which a ByteLevel part applies unless told otherwise.
constexpr auto gpt2_pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* known_ends[] = {end_of_text, "<|end_of_text|>"};
constexpr std::string_view source = "tokenizer.json";

[[noreturn]] void malformed(const std::string& what) {
  throw input_error(fmt::format("{}: {}", source, what));
}

[[noreturn]] void unsupported(const std::string& part, const json& found) {
  auto shown = found.dump(-1, ' ', true, json::error_handler_t::replace);
  if (shown.size() > 60)
    shown = shown.substr(0, 60) + "...";
  malformed(fmt::format("'{}' is {}, which is not supported", part, shown));
}

const json& member(const json& object, const char* key) {
  static const json none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

/// Throws unless the member is null, absent, or one of these.
void require(const json& object, const char* key, std::initializer_list<json> harmless) {
  const auto& found = member(object, key);
  if (!found.is_null() && std::find(harmless.begin(), harmless.end(), found) == harmless.end())
    unsupported(key, found);
}

class byte_pair_tokenizer final : public tokenizer {
 public:
  explicit byte_pair_tokenizer(const json& file);

  std::string kind() const override { return "byte_pairs"; }
  std::int64_t size() const noexcept override { return static_cast<std::int64_t>(pieces_.size()); }
  std::int32_t end_of_document() const noexcept override { return end_; }
  std::string serialize() const override;
  std::vector<std::int32_t> encode(std::string_view text) const override;
  std::string decode(const std::vector<std::int32_t>& tokens) const override;

 private:
  void read_words(const json& part);
  void read_pieces(const json& vocabulary, const json& added);
  void read_merges(const json& merges);
  std::int32_t token_of(std::string_view piece, const std::string& place) const;
  void encode_word(std::string_view word, std::vector<std::int32_t>& out) const;

  std::optional<word_pattern> words_;
  bool only_byte_level_ = false;  ///< the pattern is ByteLevel's own
  bool whole_words_first_ = false;
  std::vector<std::string> pieces_;  ///< the bytes of each token; none of special ones
  std::map<std::int32_t, std::string> special_;
  std::unordered_map<std::string_view, std::int32_t> tokens_;  ///< of pieces_
  byte_pair_merges merges_;
  std::int32_t end_ = -1;
};

byte_pair_tokenizer::byte_pair_tokenizer(const json& file) {
  require(file, "normalizer", {});
  const auto& model = member(file, "model");
  if (!model.is_object())
    unsupported("model", model);
  // Older files, GPT-2's own among them, do not name the type; of those only byte pairs have merges.
  if (!(model.contains("type") ? model["type"] == "BPE" : model.contains("merges")))
    unsupported("model", model);
  require(model, "dropout", {0});
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    require(model, key, {""});
  whole_words_first_ = member(model, "ignore_merges") == true;
  read_words(member(file, "pre_tokenizer"));
  read_pieces(member(model, "vocab"), member(file, "added_tokens"));
  read_merges(member(model, "merges"));
}

void byte_pair_tokenizer::read_words(const json& part) {
  const auto is_byte_level = [](const json& found) {
    return found.is_object() && member(found, "type") == "ByteLevel" && member(found, "add_prefix_space") == false;
  };
  if (is_byte_level(part)) {
    only_byte_level_ = true;
    if (member(part, "use_regex") != false)
      words_.emplace(gpt2_pattern);
    return;
  }
  const auto& steps = part.is_object() && member(part, "type") == "Sequence" ? member(part, "pretokenizers") : part;
  if (!steps.is_array() || steps.size() != 2 || !is_byte_level(steps[1]) || member(steps[1], "use_regex") != false)
    unsupported("pre_tokenizer", part);
  const auto& split = steps[0];
  if (!split.is_object() || member(split, "type") != "Split" || member(split, "behavior") != "Isolated" ||
      member(split, "invert") == true || !member(split, "pattern").is_object() ||
      !member(split["pattern"], "Regex").is_string())
    unsupported("pre_tokenizer", split);
  words_.emplace(split["pattern"]["Regex"].get<std::string>());
}

void byte_pair_tokenizer::read_pieces(const json& vocabulary, const json& added) {
  if (!vocabulary.is_object())
    malformed("the model has no object 'vocab'");
  if (!added.is_null() && !added.is_array())
    malformed("'added_tokens' is no list");
  for (const auto& each : added) {
    const auto& id = each.is_object() ? member(each, "id") : json();
    if (!id.is_number_unsigned() || id > 0x7fffffff || !member(each, "content").is_string())
      malformed("an added token has no whole number 'id' and text 'content'");
    if (member(each, "special") != true)
      unsupported("added_tokens", each);
    special_[id.get<std::int32_t>()] = each["content"].get<std::string>();
  }
  std::size_t count = special_.size();
  for (const auto& [text, id] : vocabulary.items())
    count += !(id.is_number_unsigned() && id <= 0x7fffffff && special_.contains(id.get<std::int32_t>()));
  pieces_.resize(count);
  std::vector<bool> known(count);
  const auto take = [&](const json& id, const std::string& text) -> std::string& {
    if (!id.is_number_unsigned() || id >= count || known[id.get<std::size_t>()])
      malformed(fmt::format("token {} of '{}': {} tokens are to be numbered from 0 to {}, each once", id.dump(), text,
                            count, count - 1));
    known[id.get<std::size_t>()] = true;
    return pieces_[id.get<std::size_t>()];
  };
  for (const auto& [id, content] : special_) {
    take(static_cast<std::uint64_t>(id), content);
    const bool only = special_.size() == 1;
    if (only || (end_ < 0 && std::ranges::find(known_ends, content) != std::end(known_ends)))
      end_ = id;
  }
  for (const auto& [text, id] : vocabulary.items()) {
    if (id.is_number_unsigned() && id < count && special_.contains(id.get<std::int32_t>()))
      continue;
    auto bytes = bytes_of(text);
    if (!bytes || bytes->empty())
      malformed(fmt::format("the piece '{}' holds what stands for no byte", text));
    take(id, text) = std::move(*bytes);
  }
  for (std::size_t id = 0; id < count; ++id)
    if (!pieces_[id].empty())
      tokens_[pieces_[id]] = static_cast<std::int32_t>(id);
  for (int b = 0; b < 256; ++b)
    merges_.set_byte(static_cast<unsigned char>(b),
                     token_of(std::string(1, static_cast<char>(b)), fmt::format("byte {}", b)));
}

std::int32_t byte_pair_tokenizer::token_of(std::string_view piece, const std::string& place) const {
  const auto found = tokens_.find(piece);
  if (found == tokens_.end())
    malformed(fmt::format("{}: there is no piece '{}'", place, byte_level(piece)));
  return found->second;
}

void byte_pair_tokenizer::read_merges(const json& merges) {
  if (!merges.is_array())
    malformed("the model has no list 'merges'");
  for (const auto& each : merges) {
    const auto place = fmt::format("merge {}", merges_.all().size());
    std::string left, right;  // ["a", "b"], or, in older files, "a b"
    if (each.is_array() && each.size() == 2 && each[0].is_string() && each[1].is_string()) {
      left = each[0];
      right = each[1];
    } else if (each.is_string()) {
      const auto& both = each.get_ref<const std::string&>();
      const auto space = std::min(both.find(' '), both.size());
      left = both.substr(0, space);
      right = both.substr(std::min(space + 1, both.size()));
    }
    const auto a = bytes_of(left), b = bytes_of(right);
    if (!a || !b || a->empty() || b->empty())
      malformed(fmt::format("{}: expected two pieces", place));
    const auto first = token_of(*a, place), second = token_of(*b, place);
    if (!merges_.add({first, second}, token_of(*a + *b, place)))
      malformed(fmt::format("{}: comes twice", place));
  }
}

std::string byte_pair_tokenizer::serialize() const {
  auto vocabulary = json::object(), merges = json::array();
  for (std::size_t id = 0; id < pieces_.size(); ++id)
    if (!special_.contains(static_cast<std::int32_t>(id)))
      vocabulary[byte_level(pieces_[id])] = id;
  const auto piece = [&](std::int32_t token) { return byte_level(pieces_[static_cast<std::size_t>(token)]); };
  for (const auto& [left, right] : merges_.all())
    merges.push_back(piece(left) + ' ' + piece(right));
  auto model = byte_pairs_json(std::move(vocabulary), std::move(merges));
  if (whole_words_first_)
    model["ignore_merges"] = true;
  auto words = byte_level_json(only_byte_level_ && words_.has_value());
  if (!only_byte_level_)
    words = {{"type", "Sequence"},
             {"pretokenizers",
              {{{"type", "Split"}, {"pattern", {{"Regex", words_->text()}}}, {"behavior", "Isolated"}, {"invert", false}},
               words}}};
  auto file = tokenizer_json(std::move(model), std::move(words), byte_level_json(true));
  for (const auto& [id, content] : special_)
    file["added_tokens"].push_back(special_token_json(id, content));
  return file.dump();
}

void byte_pair_tokenizer::encode_word(std::string_view word, std::vector<std::int32_t>& out) const {
  if (whole_words_first_)
    if (const auto found = tokens_.find(word); found != tokens_.end())
      return out.push_back(found->second);
  merges_.encode(word, out);
}

std::vector<std::int32_t> byte_pair_tokenizer::encode(std::string_view text) const {
  require_utf8(text);
  std::vector<std::int32_t> out;
  std::unordered_map<std::string_view, std::pair<std::size_t, std::size_t>> seen;  // where in `out` a word's tokens are
  for (const auto word : words_ ? words_->words(text) : std::vector{text}) {
    const auto first = out.size();
    const auto [known, is_new] = seen.try_emplace(word);
    if (is_new) {
      encode_word(word, out);
      known->second = {first, out.size() - first};
    } else {
      const auto [from, count] = known->second;
      out.resize(first + count);
      std::copy_n(out.begin() + static_cast<std::ptrdiff_t>(from), count, out.begin() + static_cast<std::ptrdiff_t>(first));
    }
  }
  return out;
}

std::string byte_pair_tokenizer::decode(const std::vector<std::int32_t>& tokens) const {
  std::string bytes;
  for (const auto token : tokens)
    bytes += token >= 0 && token < size() ? pieces_[static_cast<std::size_t>(token)] : "\xFF";
  return utf8::repaired(bytes);
}

}  // namespace

std::shared_ptr<const tokenizer> load_byte_pairs(std::string_view file) {
  return std::make_shared<byte_pair_tokenizer>(parse_json_object(file, std::string(source)));
}

std::shared_ptr<const tokenizer> load_byte_pairs_file(const std::string& path) {
  const auto file = mapped_file::open(path);
  try {
    return load_byte_pairs(file->text());
  } catch (const input_error& failure) {
    throw input_error(fmt::format("{}: {}", path, failure.what()));
  }
}

}  // namespace troupe
