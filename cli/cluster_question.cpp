#include "cli/cluster_question.hpp"

#include <filesystem>
#include <future>
#include <utility>

#include <fmt/format.h>

#include "cli/command.hpp"
#include "runtime/cluster/environment.hpp"
#include "runtime/error.hpp"

namespace troupe {

cluster_question::cluster_question(std::string where, const access_options& options)
    : where_(std::move(where)), access_(options.find()) {
  if (!where_.empty())
    found_ = cluster_file::read(where_);
  if (!found_ && (where_.find('/') != std::string::npos || std::filesystem::is_directory(where_)))
    throw input_error(fmt::format("{}: no run on a cluster is going on here\nhelp: give the directory of a run that "
                                  "`troupe train` runs on nodes now, or HOST:PORT of its head",
                                  where_));
  if (found_ && !found_->secret.empty())
    access_.secret = found_->secret;
  if (found_ && options.tls.empty())
    access_.tls = found_->tls;
  if (found_)
    endpoint_ = found_->endpoint;
  else if (!where_.empty())
    endpoint_ = to_string(parse_endpoint(where_, "WHERE"));
  else
    endpoint_ = read_launch_environment().head.value_or(fmt::format("127.0.0.1:{}", default_port));
}

std::string cluster_question::ask(const introduction& what) const {
  auto carrier = listen_on({"127.0.0.1", 0}, access_, {});
  carrier->start({[](link_id, const std::string&) { return introduction_reply{false, "this process only asks"}; },
                  [](link_id, parcel) {}, [](link_id, const std::string&) {}});
  std::promise<dial_result> answered;
  carrier->dial(endpoint_, encode(what), [&](const dial_result& result) { answered.set_value(result); });
  const auto answer = answered.get_future().get();
  end_network(carrier);
  if (answer.refused)
    throw input_error(answer.text);
  if (answer.link == 0 && found_)
    throw system_error(fmt::format("{}: its head does not answer: {}\nhelp: where its process was killed, `troupe train "
                                   "--resume` goes on from the last cut",
                                   where_, answer.text));
  if (answer.link == 0)
    throw system_error(answer.text);
  return answer.text;
}

}  // namespace troupe
