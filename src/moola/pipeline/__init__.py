"""The story top to bottom: one call a stage, each stage a file that the next one reads.

sample -> windows -> convert -> split -> pretrain -> train -> evaluate -> gate -> promote -> predict
"""
