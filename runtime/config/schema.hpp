#pragma once

/// One description of settings, for all uses:
///
///     schema root;
///     auto& optimizer = root.table("optimizer", "The update rule.");
///     optimizer.key("learning_rate", settings.learning_rate, "the schedule's peak", above(0));
///     root.read(load_toml("run.toml"), report);   // fills `settings`; reports every mistake
///     root.print();                               // the settings as TOML
///
/// Members keep their value where the text says nothing: what they hold at first is the default.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/config/codec.hpp"

namespace troupe::config {

/// A table's keys, bound to members that must outlive it. Keys are printed in the order they were added.
class schema {
 public:
  explicit schema(std::string documentation = {}) : documentation_(std::move(documentation)) {}

  /// Binds a key to `member`. `documentation`: one line, without a full stop; limits and choices are added to it.
  template <class T>
  void key(std::string name, T& member, std::string documentation, range limits = {}) {
    auto* at = &member;
    keys_.push_back({std::move(name), std::move(documentation), limits, choices_of<T>(),
                     [at](const value& from, const reading& how) { codec<T>::read(from, how, *at); },
                     [at] { return codec<T>::write(*at); }});
  }

  /// Adds a table inside this one.
  schema& table(std::string name, std::string documentation);

  /// Binds a list of tables; `describe(schema&, T&)` adds the keys of one element.
  template <class T, class Describe>
  void tables(std::string name, std::vector<T>& member, std::string documentation, Describe describe) {
    auto* at = &member;
    lists_.push_back({std::move(name), std::move(documentation),
                      [at](std::size_t count) { *at = std::vector<T>(count); },
                      [at] { return at->size(); },
                      [at, describe](std::size_t index, const use_schema& use) {
                        T fallback{};  // describes an element where there is none
                        schema element;
                        describe(element, index < at->size() ? (*at)[index] : fallback);
                        use(element);
                      }});
  }

  /// Fills the members from `from`; reports unknown keys, wrong types and values out of range.
  void read(const value& from, diagnostics& report) const;

  /// The members as TOML that `read` takes. With comments: every key says what it is for.
  std::string print(bool with_comments = false) const;

  /// Every key by its dotted path.
  std::vector<std::string> paths() const;

 private:
  using use_schema = std::function<void(const schema&)>;

  struct bound_key {
    std::string name;
    std::string documentation;
    range limits;
    std::vector<std::string> choices;
    std::function<void(const value&, const reading&)> read;
    std::function<std::string()> write;
  };
  struct bound_table {
    std::string name;
    std::unique_ptr<schema> body;
  };
  struct bound_list {
    std::string name;
    std::string documentation;
    std::function<void(std::size_t)> resize;
    std::function<std::size_t()> size;
    std::function<void(std::size_t, const use_schema&)> with_element;
  };

  void read_table(const value& from, const std::string& prefix, const std::vector<std::string>& all_paths,
                  diagnostics& report) const;
  void read_list(const bound_list& list, const value& from, const std::string& path, diagnostics& report) const;
  void report_unknown(const entry& found, const std::string& prefix, const std::vector<std::string>& all_paths,
                      diagnostics& report) const;
  std::vector<std::string> names() const;
  void collect_paths(const std::string& prefix, std::vector<std::string>& out) const;
  void print_keys(std::string& out, bool with_comments, const std::string& line_prefix) const;
  void print_table(std::string& out, bool with_comments, const std::string& path) const;

  std::string documentation_;
  std::vector<bound_key> keys_;
  std::vector<bound_table> tables_;
  std::vector<bound_list> lists_;
};

}  // namespace troupe::config
