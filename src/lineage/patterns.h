// Selections that depend on positions alone: the sparse attentions before the learned ones.
#pragma once

#include <cstdint>
#include <vector>

namespace precis {

/// The rows that a token at `position` reads, ascending, each once.
using PatternFn = std::vector<std::int32_t> (*)(std::int64_t position);

/// The last l tokens, and every l-th before; l is the power of two at or above √(position + 1).
///
/// Source    "Generating Long Sequences with Sparse Transformers" (arXiv 1904.10509), §4.3
std::vector<std::int32_t> strided_rows(std::int64_t position);

/// A window of 512 tokens and 16 global tokens at the start.
///
/// Source    "Longformer" (arXiv 2004.05150), §3.1, causal
std::vector<std::int32_t> longformer_rows(std::int64_t position);

/// Of blocks of 64 tokens: 2 global ones at the start, the token's own and the 2 before it, and 3
/// random ones.
///
/// Source    "Big Bird" (arXiv 2007.14062), §2 and appendix E.1, causal
std::vector<std::int32_t> bigbird_rows(std::int64_t position);

}  // namespace precis
