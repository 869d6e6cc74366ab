// The rows and lists of one KV head: views that skip those of the others.
#include "ops/attend.h"

namespace precis {

AttendArgs AttendArgs::of_kv_head(int head) const {
  AttendArgs own = *this;
  own.n_kv_heads = 1;
  own.window.pool = window.pool.of_head(head);
  own.compressed = compressed.of_head(head);
  const auto every_g_th = [&](auto mat) {
    if (!mat.empty()) {
      mat = {mat.row(head), mat.rows / n_kv_heads, mat.cols, mat.stride * n_kv_heads};
    }
    return mat;
  };
  own.selection.listed = every_g_th(selection.listed);
  own.mass = every_g_th(mass);
  return own;
}

}  // namespace precis
