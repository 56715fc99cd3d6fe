#include <cstdio>

#include "actors/job.hpp"
#include "models/transformer.hpp"
#include "runtime/system.hpp"

int main() {
  troupe::system_config config;
  caf::actor_system system(config);
  const auto counter = system.spawn([]() -> caf::behavior {
    return {[](std::int64_t layers) {
      const troupe::transformer_settings gpt2{
          .vocabulary = 50257, .context = 1024, .layers = layers, .heads = 12, .channels = 768};
      return troupe::make_transformer(gpt2).parameters().count();
    }};
  });
  caf::scoped_actor self(system);
  self->request(counter, caf::infinite, std::int64_t{12})
      .receive([](std::int64_t count) { std::printf("a GPT-2 of %ld parameters\n", static_cast<long>(count)); },
               [](const caf::error& failure) { std::puts(to_string(failure).c_str()); });
}
