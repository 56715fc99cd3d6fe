#include "models/data/tokenizer.hpp"
#include "models/data/utf8.hpp"

namespace troupe {

namespace {

constexpr std::int32_t end_token = 256;

class byte_tokenizer final : public tokenizer {
 public:
  std::string kind() const override { return "bytes"; }
  std::int64_t size() const noexcept override { return end_token + 1; }
  std::int32_t end_of_document() const noexcept override { return end_token; }
  std::string serialize() const override { return {}; }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> tokens(text.size());
    for (std::size_t i = 0; i < text.size(); ++i)
      tokens[i] = static_cast<unsigned char>(text[i]);
    return tokens;
  }

  std::string decode(const std::vector<std::int32_t>& tokens) const override {
    std::string bytes;
    for (const std::int32_t token : tokens) {
      if (token < 0 || token > end_token)
        utf8::append(bytes, utf8::replacement);
      else if (token != end_token)
        bytes.push_back(static_cast<char>(token));
    }
    return utf8::repaired(bytes);
  }
};

}  // namespace

std::shared_ptr<const tokenizer> make_byte_tokenizer() {
  return std::make_shared<byte_tokenizer>();
}

}  // namespace troupe
