#include <stdexcept>

#include "models/data/corpus.hpp"
#include "tests/fuzz/fuzz.hpp"

std::vector<std::string> troupe::fuzz::seeds() {
  return {
    "{\"text\": \"one\"}\n{\"text\": \"two \\u00e9 \\ud83c\\udfad\\n\"}\n",
    "\n  \n{\"id\": 17, \"text\": \"\", \"tags\": [\"a\", {\"b\": null}], \"score\": -1.5e-3}\r\n{\"text\":\"last\"}",
    std::string("{\"deep\": ") + std::string(200, '[') + std::string(200, ']') + ", \"text\": \"x\"}",
  };
}

void troupe::fuzz::read(std::string_view bytes) {
  data_settings settings;
  settings.path = scratch_file(bytes, "corpus.jsonl").string();
  std::size_t size = 0;
  open_json_lines(settings)->for_each_document([&](std::string_view text, const corpus::locator& where) {
    size += text.size();
    where(0);
    where(text.size() - 1);
  });
  if (size > bytes.size())
    throw std::logic_error("more text than there were bytes");
}
