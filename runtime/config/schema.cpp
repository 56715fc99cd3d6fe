#include "runtime/config/schema.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace troupe::config {

namespace {

std::string join(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : fmt::format("{}.{}", prefix, name);
}

std::string_view last_part(std::string_view path) { return path.substr(path.rfind('.') + 1); }

template <class List>
auto find_named(const List& list, std::string_view name) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const auto& one) { return one.name == name; });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

schema& schema::table(std::string name, std::string documentation) {
  tables_.push_back({std::move(name), std::make_unique<schema>(std::move(documentation))});
  return *tables_.back().body;
}

// -- reading -------------------------------------------------------------------------

void schema::read(const value& from, diagnostics& report) const { read_table(from, "", paths(), report); }

void schema::read_table(const value& from, const std::string& prefix, const std::vector<std::string>& all_paths,
                        diagnostics& report) const {
  const auto* entries = from.as<value::table>();
  if (!entries) {
    reading{report, prefix, {}}.reject(from, "a table",
                                       fmt::format("write a section [{0}], or {0}.key = value", prefix));
    return;
  }
  for (const auto& found : *entries) {
    const auto path = join(prefix, found.key);
    if (const auto* key = find_named(keys_, found.key))
      key->read(found.content, {report, path, key->limits});
    else if (const auto* table = find_named(tables_, found.key))
      table->body->read_table(found.content, path, all_paths, report);
    else if (const auto* list = find_named(lists_, found.key))
      read_list(*list, found.content, path, report);
    else
      report_unknown(found, prefix, all_paths, report);
  }
}

void schema::read_list(const bound_list& list, const value& from, const std::string& path, diagnostics& report) const {
  const auto* elements = from.as<value::array>();
  if (!elements) {
    reading{report, path, {}}.reject(from, "a list of tables", fmt::format("write a section [[{}]] for each", path));
    return;
  }
  list.resize(elements->size());
  for (std::size_t i = 0; i < elements->size(); ++i)
    list.with_element(i, [&](const schema& element) {
      std::vector<std::string> element_paths;
      element.collect_paths(path, element_paths);
      element.read_table((*elements)[i], path, element_paths, report);
    });
}

/// A slip in this table comes first; then the same key, or a slip of it, in another table.
void schema::report_unknown(const entry& found, const std::string& prefix, const std::vector<std::string>& all_paths,
                            diagnostics& report) const {
  const auto path = join(prefix, found.key);
  std::string help;
  if (const auto sibling = nearest(found.key, names()); !sibling.empty()) {
    help = fmt::format("a similar key is '{}'", join(prefix, sibling));
  } else {
    std::vector<std::string> leaves;
    for (const auto& known : all_paths)
      leaves.emplace_back(last_part(known));
    if (const auto leaf = nearest(found.key, leaves); !leaf.empty()) {
      const auto known = std::find_if(all_paths.begin(), all_paths.end(),
                                      [&](const std::string& one) { return last_part(one) == leaf; });
      help = fmt::format("a similar key is '{}'", *known);
    } else {
      help = fmt::format("{} are: {}", prefix.empty() ? "sections and keys" : fmt::format("keys of '{}'", prefix),
                         fmt::join(names(), ", "));
    }
  }
  report.error(found.where, fmt::format("unknown key '{}'", path), std::move(help));
}

std::vector<std::string> schema::names() const {
  std::vector<std::string> result;
  for (const auto& key : keys_)
    result.push_back(key.name);
  for (const auto& table : tables_)
    result.push_back(table.name);
  for (const auto& list : lists_)
    result.push_back(list.name);
  return result;
}

std::vector<std::string> schema::paths() const {
  std::vector<std::string> result;
  collect_paths("", result);
  return result;
}

void schema::collect_paths(const std::string& prefix, std::vector<std::string>& out) const {
  for (const auto& key : keys_)
    out.push_back(join(prefix, key.name));
  for (const auto& table : tables_)
    table.body->collect_paths(join(prefix, table.name), out);
  for (const auto& list : lists_)
    list.with_element(list.size(), [&](const schema& element) { element.collect_paths(join(prefix, list.name), out); });
}

// -- printing ------------------------------------------------------------------------

std::string schema::print(bool with_comments) const {
  std::string text;
  print_table(text, with_comments, "");
  return text;
}

void schema::print_table(std::string& out, bool with_comments, const std::string& path) const {
  if (!path.empty()) {
    out += out.empty() ? "" : "\n";
    if (with_comments && !documentation_.empty())
      out += fmt::format("# {}\n", documentation_);
    out += fmt::format("[{}]\n", path);
  } else if (with_comments && !documentation_.empty()) {
    out += fmt::format("# {}\n\n", documentation_);
  }
  print_keys(out, with_comments, "");
  for (const auto& list : lists_) {
    const auto list_path = join(path, list.name);
    if (with_comments)
      out += fmt::format("\n# {}\n", list.documentation);
    for (std::size_t i = 0; i < list.size(); ++i)
      list.with_element(i, [&](const schema& element) {
        out += fmt::format("{}[[{}]]\n", with_comments && i == 0 ? "" : "\n", list_path);
        element.print_keys(out, with_comments, "");
      });
    if (with_comments && list.size() == 0)
      list.with_element(0, [&](const schema& element) {
        out += fmt::format("# [[{}]]\n", list_path);
        element.print_keys(out, true, "# ");
      });
  }
  for (const auto& table : tables_)
    table.body->print_table(out, with_comments, join(path, table.name));
}

void schema::print_keys(std::string& out, bool with_comments, const std::string& line_prefix) const {
  constexpr std::size_t comment_column_max = 36;
  std::vector<std::string> assignments;
  std::size_t column = 0;
  for (const auto& key : keys_) {
    assignments.push_back(fmt::format("{}{} = {}", line_prefix, key.name, key.write()));
    column = std::max(column, assignments.back().size());
  }
  column = std::min(column, comment_column_max);
  for (std::size_t i = 0; i < keys_.size(); ++i) {
    if (!with_comments) {
      out += assignments[i] + '\n';
      continue;
    }
    const auto& key = keys_[i];
    auto comment = key.documentation;
    if (!key.choices.empty())
      comment += (comment.empty() ? "" : ": ") + join_choices(key.choices);
    if (const auto limits = key.limits.text(); !limits.empty())
      comment += (comment.empty() ? "" : "; ") + limits;
    out += fmt::format("{:<{}}  # {}\n", assignments[i], column, comment);
  }
}

}  // namespace troupe::config
