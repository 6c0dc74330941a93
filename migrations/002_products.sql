-- Migration: 002_products
-- Description: Products of several shops in one table, kept apart by row-level security
-- Author: Ada Kern
-- Date: 2025-03-04
-- Tags: security

CREATE TABLE shop.products (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant      text NOT NULL DEFAULT current_setting('shop.tenant', true),
    sku         text NOT NULL,
    title       text NOT NULL,
    price_cents bigint NOT NULL CHECK (price_cents >= 0),
    published   boolean NOT NULL DEFAULT false,
    UNIQUE (tenant, sku)
);

ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY;

-- A session says who it is with: SET shop.tenant = 'north';
CREATE POLICY products_of_tenant ON shop.products
    USING (tenant = current_setting('shop.tenant', true))
    WITH CHECK (tenant = current_setting('shop.tenant', true));

CREATE POLICY published_products ON shop.products FOR SELECT
    USING (published);

COMMENT ON TABLE shop.products IS 'Everybody sees what is published; a tenant sees and changes its own';
