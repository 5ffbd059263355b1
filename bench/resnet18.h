#pragma once
// ResNet-18 (He et al. 2015) with torchvision's names.
#include <tandem/tandem.h>

namespace bench {

using namespace tandem;

struct BasicBlock : nn::Module<BasicBlock> {
  nn::Conv2d conv1, conv2;
  nn::BatchNorm2d bn1, bn2;
  nn::Sequential downsample;
  static constexpr auto fields =
      std::tuple{field("conv1", &BasicBlock::conv1), field("bn1", &BasicBlock::bn1),
                 field("conv2", &BasicBlock::conv2), field("bn2", &BasicBlock::bn2),
                 field("downsample", &BasicBlock::downsample)};

  BasicBlock(int64_t in, int64_t out, int64_t stride)
      : conv1(in, out, 3, {.stride = stride, .padding = 1, .bias = false}),
        conv2(out, out, 3, {.padding = 1, .bias = false}),
        bn1(out),
        bn2(out) {
    if (stride != 1 || in != out)
      downsample = nn::Sequential{nn::Conv2d(in, out, 1, {.stride = stride, .bias = false}),
                                  nn::BatchNorm2d(out)};
  }
  Tensor forward(const Tensor& x) const {
    const Tensor y = bn2(conv2(relu(bn1(conv1(x)))));
    return relu(y + (downsample.empty() ? x : downsample(x)));
  }
};

struct ResNet18 : nn::Module<ResNet18> {
  nn::Conv2d conv1{3, 64, 7, {.stride = 2, .padding = 3, .bias = false}};
  nn::BatchNorm2d bn1{64};
  nn::Sequential layer1{BasicBlock(64, 64, 1), BasicBlock(64, 64, 1)};
  nn::Sequential layer2{BasicBlock(64, 128, 2), BasicBlock(128, 128, 1)};
  nn::Sequential layer3{BasicBlock(128, 256, 2), BasicBlock(256, 256, 1)};
  nn::Sequential layer4{BasicBlock(256, 512, 2), BasicBlock(512, 512, 1)};
  nn::Linear fc{512, 1000};
  static constexpr auto fields =
      std::tuple{field("conv1", &ResNet18::conv1),   field("bn1", &ResNet18::bn1),
                 field("layer1", &ResNet18::layer1), field("layer2", &ResNet18::layer2),
                 field("layer3", &ResNet18::layer3), field("layer4", &ResNet18::layer4),
                 field("fc", &ResNet18::fc)};

  Tensor forward(const Tensor& x) const {
    const Tensor stem = max_pool2d(relu(bn1(conv1(x))), 3, {.stride = 2, .padding = 1});
    return fc(flatten(adaptive_avg_pool2d(layer4(layer3(layer2(layer1(stem)))), 1), 1));
  }
};

}  // namespace bench
