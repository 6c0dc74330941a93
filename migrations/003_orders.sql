-- Migration: 003_orders
-- Description: Orders with their lines; the state of an order is an enum
-- Author: Ada Kern
-- Date: 2025-03-10

CREATE TYPE shop.order_state AS ENUM ('cart', 'placed', 'paid', 'shipped');

CREATE TABLE shop.orders (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES shop.customers,
    state       shop.order_state NOT NULL DEFAULT 'cart',
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE shop.order_lines (
    order_id    bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE,
    product_id  bigint NOT NULL REFERENCES shop.products,
    quantity    integer NOT NULL CHECK (quantity > 0),
    price_cents bigint NOT NULL CHECK (price_cents >= 0),
    PRIMARY KEY (order_id, product_id)
);

COMMENT ON COLUMN shop.order_lines.price_cents IS 'The price at the time of the order, for one piece';
