#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/tensor/reference/reference_device.hpp"
#include "runtime/tensor/reference/views.hpp"

namespace troupe::reference {

void reference_stream::embedding_forward(const tensor& tokens, std::int64_t time, std::int64_t first_position,
                                         const tensor& token_table, const tensor& position_table, const tensor& y) {
  const matrix table(token_table), positions(position_table), out(y);
  const auto ids = tokens.elements<std::int32_t>();
  assert(tokens.count() == out.rows && table.columns == out.columns);
  for (std::int64_t n = 0; n < out.rows; ++n) {
    assert(ids[n] >= 0 && ids[n] < table.rows);
    std::ranges::copy(table[ids[n]], out[n].begin());
    if (position_table) {
      assert(first_position + n % time < positions.rows);
      for (std::int64_t c = 0; c < out.columns; ++c)
        out(n, c) += positions(first_position + n % time, c);
    }
  }
  keep({y});
}

void reference_stream::embedding_backward(const tensor& tokens, std::int64_t time, const tensor& dy,
                                          const tensor& dtoken_table, const tensor& dposition_table) {
  const matrix dout(dy), dtable(dtoken_table), dpositions(dposition_table);
  const auto ids = tokens.elements<std::int32_t>();
  assert(tokens.count() == dout.rows && dtable.columns == dout.columns);
  for (std::int64_t n = 0; n < dout.rows; ++n) {
    for (std::int64_t c = 0; c < dout.columns; ++c) {
      dtable(ids[n], c) += dout(n, c);
      if (dposition_table)
        dpositions(n % time, c) += dout(n, c);
    }
  }
}

void reference_stream::linear_cross_entropy(const tensor& hidden, const tensor& weight, const tensor& targets,
                                            const tensor& losses, const tensor& dhidden, const tensor& dweight,
                                            bool fresh) {
  const matrix in(hidden), table(weight), din(dhidden), dtable(dweight);
  const auto wanted = targets.elements<std::int32_t>();
  const auto loss = elements(losses);
  assert(targets.count() == in.rows && losses.count() == in.rows && in.columns == table.columns);
  if (dhidden)
    zero(dhidden);
  if (dweight && fresh)
    zero(dweight);
  for (std::int64_t n = 0; n < in.rows; ++n) {
    loss[n] = 0;
    if (wanted[n] == -1)
      continue;
    assert(wanted[n] >= 0 && wanted[n] < table.rows);
    std::vector<double> logits(static_cast<std::size_t>(table.rows), 0.0);
    for (std::int64_t v = 0; v < table.rows; ++v)
      for (std::int64_t c = 0; c < in.columns; ++c)
        logits[v] += in(n, c) * table(v, c);
    const double greatest = *std::ranges::max_element(logits);
    double sum = 0;
    for (const double logit : logits)
      sum += std::exp(logit - greatest);
    const double log_sum_exp = greatest + std::log(sum);
    loss[n] = log_sum_exp - logits[wanted[n]];
    if (!dhidden)
      continue;
    for (std::int64_t v = 0; v < table.rows; ++v) {
      const double dlogit = kept(std::exp(logits[v] - log_sum_exp) - (v == wanted[n] ? 1 : 0));
      for (std::int64_t c = 0; c < in.columns; ++c) {
        din(n, c) += dlogit * table(v, c);
        if (dweight)
          dtable(v, c) += dlogit * in(n, c);
      }
    }
  }
  keep({dhidden});
}

}  // namespace troupe::reference
