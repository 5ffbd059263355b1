#include "tandem/nn/activation.h"

#include "tandem/ops/elu.h"
#include "tandem/ops/gelu.h"
#include "tandem/ops/hardtanh.h"
#include "tandem/ops/leaky_relu.h"
#include "tandem/ops/relu.h"
#include "tandem/ops/sigmoid.h"
#include "tandem/ops/silu.h"
#include "tandem/ops/softmax.h"
#include "tandem/ops/softplus.h"
#include "tandem/ops/tanh.h"

namespace tandem::nn {

Tensor ReLU::forward(const Tensor& x) const { return relu(x); }
Tensor LeakyReLU::forward(const Tensor& x) const { return leaky_relu(x, negative_slope); }
Tensor ELU::forward(const Tensor& x) const { return elu(x, alpha); }
Tensor GELU::forward(const Tensor& x) const { return gelu(x, approximate); }
Tensor SiLU::forward(const Tensor& x) const { return silu(x); }
Tensor Softplus::forward(const Tensor& x) const { return softplus(x, beta, threshold); }
Tensor Hardtanh::forward(const Tensor& x) const { return hardtanh(x, min_val, max_val); }
Tensor Tanh::forward(const Tensor& x) const { return tanh(x); }
Tensor Sigmoid::forward(const Tensor& x) const { return sigmoid(x); }
Tensor Softmax::forward(const Tensor& x) const { return softmax(x, dim); }
Tensor LogSoftmax::forward(const Tensor& x) const { return log_softmax(x, dim); }

}  // namespace tandem::nn
