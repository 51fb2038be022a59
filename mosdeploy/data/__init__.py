"""Examples and padded batches of them, as every training and every evaluation reads them."""
