// Which algorithm runs a pass of a convolution.
#pragma once

#include <cstdint>

#include "tandem/backend/cpu/conv.h"
#include "tandem/backend/cpu/conv_onednn.h"

namespace tandem::cpu {

enum class ConvAlgorithm : uint8_t {
  plain,            // oneDNN on NCHW
  channels_last,    // oneDNN on NHWC, reordered
  blocked,          // oneDNN on blocks of channels, reordered
  onednn_winograd,  // likewise
  winograd,         // our own
  direct,           // few channels on one side
  depthwise,
  im2col,  // any shape
};

/// Algorithms in the order in which they are tried. oneDNN's may not exist for a shape; one of the
/// others stands last.
struct ConvChoices {
  ConvAlgorithm list[6] = {};
  int count = 0;

  void add(ConvAlgorithm a) { list[count++] = a; }
};

/// By rules over the shape alone, best first. docs/internals.md says how they were found.
ConvChoices conv_rule(ConvPass pass, const ConvShape& shape, bool winograd);
/// Those that are worth a measurement.
ConvChoices conv_candidates(ConvPass pass, const ConvShape& shape, bool winograd);
/// Whether Winograd's sums are the faster ones for tensors in blocks, with packed filters.
bool blocked_winograd_rule(const ConvShape& shape);

}  // namespace tandem::cpu
