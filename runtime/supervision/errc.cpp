#include "runtime/supervision/errc.hpp"

#include <filesystem>
#include <new>

#include "runtime/error.hpp"
#include "runtime/tensor/device.hpp"

namespace troupe {

namespace {

constexpr caf::atom_value category = caf::atom("troupe");

const char* name_of(errc code) {
  switch (code) {
    case errc::escalated: return "escalated";
    case errc::unknown_name: return "unknown name";
    case errc::timed_out: return "timed out";
    case errc::bad_input: return "bad input";
    case errc::hopeless: return "hopeless";
    case errc::system_failure: return "system failure";
    case errc::device_lost: return "device lost";
    case errc::killed_by_chaos: return "killed by chaos";
    case errc::node_lost: return "node lost";
    case errc::moved: return "moved";
    case errc::head_lost: return "head lost";
  }
  return "unknown error";
}

std::string code_of(const caf::error& reason) {
  if (!reason)
    return "normal";
  if (reason.category() == category)
    return name_of(static_cast<errc>(reason.code()));
  return to_string(caf::error{reason.code(), reason.category()});
}

std::string message_of(const caf::error& reason) {
  if (!reason || reason.context().empty())
    return {};
  const auto& context = reason.context();
  return context.match_elements<std::string>() ? context.get_as<std::string>(0) : to_string(context);
}

}  // namespace

caf::error make_error(errc code, std::string message) {
  return {static_cast<std::uint8_t>(code), category, caf::make_message(std::move(message))};
}

std::string describe(const caf::error& reason) {
  const auto message = message_of(reason);
  return message.empty() ? code_of(reason) : code_of(reason) + ": " + message;
}

std::string root_cause(const caf::error& reason) {
  auto message = message_of(reason);
  return message.empty() ? code_of(reason) : message;
}

bool is(const caf::error& reason, errc code) {
  return reason && reason.category() == category && reason.code() == static_cast<std::uint8_t>(code);
}

bool is_final(const caf::error& reason) { return is(reason, errc::bad_input) || is(reason, errc::hopeless); }

caf::error to_error(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const input_error& e) {
    return make_error(errc::bad_input, e.what());
  } catch (const device_lost& e) {
    return make_error(errc::device_lost, e.what());
  } catch (const system_error& e) {
    return make_error(errc::system_failure, e.what());
  } catch (const std::filesystem::filesystem_error& e) {
    return make_error(errc::system_failure, e.what());
  } catch (const std::bad_alloc&) {
    return make_error(errc::system_failure, "out of memory");
  } catch (const std::exception& e) {
    return caf::make_error(caf::sec::runtime_error, std::string{e.what()});
  } catch (...) {
    return caf::make_error(caf::sec::runtime_error, std::string{"an exception that is not a std::exception"});
  }
}

void keep_exceptions(caf::scheduled_actor* self) {
  self->set_exception_handler([](caf::scheduled_actor*, std::exception_ptr& thrown) { return to_error(thrown); });
}

}  // namespace troupe
