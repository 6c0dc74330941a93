-- Migration: 005_stock
-- Description: How many pieces of a product are there
-- Author: Mira Olsen
-- Date: 2025-03-18
-- Requires: 003_orders

-- The other half of the branch that starts at 003_orders.

CREATE TABLE shop.stock (
    product_id bigint PRIMARY KEY REFERENCES shop.products ON DELETE CASCADE,
    pieces     integer NOT NULL CHECK (pieces >= 0),
    counted_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO shop.stock (product_id, pieces) SELECT id, 0 FROM shop.products;
