// Packed rows as floats and back; every stored value is exactly an f32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/view.h"

namespace precis {

/// The channels of KV row `row`, [format.width()].
std::vector<float> read_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format);

/// Quantises the first channels in groups of 64, stores the rotated ones as the format says.
///
/// Source    docs/model.md §4, §8
void write_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format,
                  std::span<const float> values);

/// Quantises all channels to e2m1 in groups of 32.
void write_index_row(const RowPool& pool, std::int64_t row, const IndexRowFormat& format,
                     std::span<const float> values);

/// The channels of index row `row`, [format.width].
std::vector<float> read_index_row(const RowPool& pool, std::int64_t row,
                                  const IndexRowFormat& format);

}  // namespace precis
