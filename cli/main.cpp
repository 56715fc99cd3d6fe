#include <cstdio>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "actors/job.hpp"
#include "cli/command.hpp"
#include "cli/progress.hpp"
#include "runtime/config/diagnostics.hpp"
#include "runtime/error.hpp"
#include "runtime/transport/socket.hpp"

namespace {

using troupe::exit_code;

exit_code fail(exit_code code, const char* message) {
  troupe::write_anyway(stderr, fmt::format("error: {}\n", message));
  return code;
}

/// Runs `what`; each kind of failure has its exit code.
exit_code guarded(const troupe::action& what) {
  try {
    return what();
  } catch (const troupe::usage_error& fault) {
    return fail(exit_code::usage, fault.what());
  } catch (const troupe::config::config_error& fault) {
    return fail(exit_code::usage, fault.what());
  } catch (const troupe::input_error& fault) {
    return fail(exit_code::bad_input, fault.what());
  } catch (const troupe::training_diverged& fault) {
    return fail(exit_code::diverged, fault.what());
  } catch (const troupe::job_failed& fault) {
    return fail(exit_code::job_failed, fault.what());
  } catch (const troupe::system_error& fault) {
    return fail(exit_code::system, fault.what());
  } catch (const std::system_error& fault) {  // of file systems, threads, standard output
    return fail(exit_code::system, fault.what());
  } catch (const std::bad_alloc&) {
    return fail(exit_code::system, "out of memory");
  } catch (const std::exception& fault) {
    troupe::write_anyway(stderr, fmt::format("error: {}\nhelp: this is a fault of troupe itself; please report it\n",
                                             fault.what()));
    return exit_code::fault;
  }
}

constexpr auto footer = R"(exit codes:
  0    done
  1    a fault of troupe itself
  2    wrong usage or configuration
  3    bad data or a bad checkpoint
  4    the job failed: supervision gave up
  5    the system failed: disk, memory, permissions, or nobody reads the output
  6    interrupted; a cut was saved, --resume goes on from it
  7    training diverged: a loss or a gradient was not finite
  130  interrupted at once by a second signal)";

std::string similar_command(const CLI::App& app, const char* word) {
  std::vector<std::string> names;
  for (const auto* each : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(each->get_name());
  const auto similar = troupe::config::nearest(word, names);
  return similar.empty() ? "" : fmt::format("a similar one is '{}'; ", similar);
}

}  // namespace

int main(int argc, char** argv) {
  troupe::raise_descriptor_limit();
  CLI::App app("Trains models as programs of actors.", "troupe");
  app.footer(footer);
  app.set_version_flag("--version", "troupe " TROUPE_VERSION);
  app.require_subcommand(1);
  troupe::action chosen;
  troupe::add_train(app, chosen);
  troupe::add_node(app, chosen);
  troupe::add_status(app, chosen);
  troupe::add_drain(app, chosen);
  troupe::add_certs(app, chosen);
  troupe::add_generate(app, chosen);
  troupe::add_eval(app, chosen);
  troupe::add_inspect(app, chosen);
  troupe::add_export(app, chosen);
  troupe::add_import(app, chosen);
  troupe::add_devices(app, chosen);
  troupe::add_config(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& fault) {
    // Help and version are "errors" of code 0, too.
    if (fault.get_exit_code() == 0)
      return app.exit(fault);
    const bool named = argc > 1 && *argv[1] != '-';
    if (named && app.get_subcommands().empty())
      troupe::write_anyway(stderr, fmt::format("error: there is no command '{}'\nhelp: {}troupe --help lists all\n",
                                               argv[1], similar_command(app, argv[1])));
    else
      troupe::write_anyway(stderr,
                           fmt::format("error: {}\nhelp: troupe --help, or troupe COMMAND --help\n", fault.what()));
    return static_cast<int>(exit_code::usage);
  }
  auto code = guarded(chosen);
  // What was written last may still be in the buffer, and its disk full.
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0) && code == exit_code::done)
    code = fail(exit_code::system, "standard output cannot be written");
  return static_cast<int>(code);
}
