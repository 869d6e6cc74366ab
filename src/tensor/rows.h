// Packed rows as floats and back; every stored value is exactly an f32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/view.h"

namespace precis {

/// The channels of KV row `row`, [format.width()].
std::vector<float> read_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format);

/// Quantises the first channels as the format says, and stores the rotated ones.
///
/// Source    docs/model.md §4, §8; V3.2's scales: its inference/kernel.py `act_quant`
void write_kv_row(const RowPool& pool, std::int64_t row, const KvRowFormat& format,
                  std::span<const float> values);

/// Quantises all channels to e2m1 in groups of 32, or to e4m3 under one scale.
void write_index_row(const RowPool& pool, std::int64_t row, const IndexRowFormat& format,
                     std::span<const float> values);

/// The channels of index row `row`, [format.width].
std::vector<float> read_index_row(const RowPool& pool, std::int64_t row,
                                  const IndexRowFormat& format);

}  // namespace precis
