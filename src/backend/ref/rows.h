// The row codecs under the names this folder uses.
#pragma once

#include "tensor/rows.h"

namespace precis::ref {

using precis::read_index_row;
using precis::read_kv_row;
using precis::write_index_row;
using precis::write_kv_row;

}  // namespace precis::ref
