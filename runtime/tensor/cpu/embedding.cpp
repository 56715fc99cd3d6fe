#include <cassert>

#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/simd.hpp"

namespace troupe::cpu {

void cpu_stream::embedding_forward(const tensor& tokens, std::int64_t time, std::int64_t first_position,
                                   const tensor& token_table, const tensor& position_table, const tensor& y) {
  const auto columns = token_table.shape().back(), rows = tokens.count();
  assert(y.count() == rows * columns);
  const std::int32_t* ids = tokens.data<std::int32_t>();
  const float* table = token_table.data<float>();
  const float* positions = position_table ? position_table.data<float>() : nullptr;
  float* to = y.mutable_data<float>();
  each_rows(rows, columns, [&](std::int64_t first, std::int64_t last) {
    for (auto r = first; r < last; ++r) {
      assert(ids[r] >= 0 && ids[r] < token_table.shape()[0]);
      const float* token = table + ids[r] * columns;
      const float* position = positions ? positions + (first_position + r % time) * columns : nullptr;
      each_vector(columns, [&](std::int64_t c, auto part) {
        const floats v = load(token + c, part);
        store(to + r * columns + c, position ? v + load(position + c, part) : v, part);
      });
    }
  });
}

void cpu_stream::embedding_backward(const tensor& tokens, std::int64_t time, const tensor& dy,
                                    const tensor& dtoken_table, const tensor& dposition_table) {
  const auto columns = dy.shape().back(), rows = tokens.count();
  assert(dy.count() == rows * columns);
  const std::int32_t* ids = tokens.data<std::int32_t>();
  const float* from = dy.data<float>();
  float* tokens_to = dtoken_table ? dtoken_table.mutable_data<float>() : nullptr;
  float* positions_to = dposition_table ? dposition_table.mutable_data<float>() : nullptr;
  // By columns, so that the rows of a token are added in order and by one thread.
  team_.split(columns, 4 * lanes, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = 0; r < rows; ++r)
      each_vector(last - first, [&](std::int64_t n, auto part) {
        const auto c = first + n;
        const floats d = load(from + r * columns + c, part);
        if (tokens_to) {
          float* to = tokens_to + ids[r] * columns + c;
          store(to, load(to, part) + d, part);
        }
        if (positions_to) {
          float* to = positions_to + r % time * columns + c;
          store(to, load(to, part) + d, part);
        }
      });
  });
}

}  // namespace troupe::cpu
